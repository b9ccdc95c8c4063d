"""Training: low-rank changes to the encoder's upper half and its heads by gradient, the n-gram tables by regression.

The lower three layers stay as they are, so every piece goes through them once. A prompt's logit is the log-sum-exp of
its windows' (a bag of instances: one bad window makes a bad prompt), a document's pieces are labelled one by one.
Needs torch and scikit-learn, and about 3 GB of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from security.injection.bags import Bag, Material, Piece, balanced
from security.injection.encoder import LORA_SCALE, base_model, padded
from security.injection.minilm import LAYERS, LINEARS, WIDTH, MiniLM, pooled
from security.injection.ngrams import TABLE
from security.injection.weights import SURFACES, Weights

FIRST = 3
"""The first layer that is trained."""
RANK = 16
STEPS = 300
PROMPTS, PIECES = 18, 24
"""In one step."""
MOST_WINDOWS = 3
"""Of one prompt in one step."""
_ADAPTER_RATE, _HEAD_RATE = 6e-4, 3e-3
_WARM = 0.06
_SMOOTHING = 0.02
_DOCUMENT_SHARE = 0.7
_DROPOUT = 0.1
_INVERSE_PENALTY = 30

Progress = Callable[[float], None]
"""Called now and then with the share that is done."""


@dataclass(frozen=True)
class Depths:
    """Every piece as it comes out of the lower layers, (tokens, 384) each, in 16 bits one after the other."""

    states: NDArray[np.float16]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def batch(self, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Padded states and where there are tokens."""
        lengths = self.lengths[places]
        states = np.zeros((len(places), int(lengths.max()), WIDTH), np.float16)
        for row, (place, length) in enumerate(zip(places, lengths, strict=True)):
            states[row, :length] = self.states[self.offsets[place] : self.offsets[place] + length]
        mask = torch.arange(states.shape[1])[None, :] < torch.from_numpy(lengths)[:, None]
        return torch.from_numpy(states).float(), mask


def depths(material: Material, progress: Progress = lambda _: None) -> Depths:
    """Run all pieces through the lower layers, once for all trainings on this material."""
    model = base_model().to(torch.bfloat16)
    offsets = np.concatenate([[0], np.cumsum([len(tokens) + 2 for tokens in material.tokens])])
    states = np.empty((int(offsets[-1]), WIDTH), np.float16)
    order = np.argsort(np.diff(offsets), kind="stable")
    parts = np.array_split(order, max(1, len(order) // 64))
    with torch.inference_mode():
        for number, part in enumerate(parts, start=1):
            tokens, mask = padded([material.tokens[place] for place in part])
            found = model.run(model.embed(tokens), mask, last=FIRST).to(torch.float16).numpy()
            for row, place in enumerate(part):
                states[offsets[place] : offsets[place + 1]] = found[row, : offsets[place + 1] - offsets[place]]
            progress(number / len(parts))
    return Depths(states, offsets)


class _Adapted(nn.Module):
    """A linear layer that stands still, and a low-rank change that learns."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(RANK, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        change = functional.linear(functional.linear(x, self.a), self.b)
        return self.linear(x) + change * LORA_SCALE  # type: ignore[no-any-return]


class Student:
    """The upper layers with their adapters and a head per surface."""

    def __init__(self) -> None:
        self.model: MiniLM = base_model().requires_grad_(False)
        self.adapters: dict[str, _Adapted] = {}
        for place in range(FIRST, LAYERS):
            for name in LINEARS:
                adapted = _Adapted(getattr(self.model.layers[place], name))
                setattr(self.model.layers[place], name, adapted)
                self.adapters[f"{place}.{name}"] = adapted
        self.head = nn.Linear(2 * WIDTH, len(SURFACES))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def logits(self, depth: Depths, places: Sequence[int], *, train: bool = False) -> Tensor:
        """(pieces, surfaces); short pieces go with short ones."""
        chosen = np.asarray(places)
        order = np.argsort(depth.lengths[chosen], kind="stable")
        parts = np.array_split(order, max(1, min(4, len(order) // 8)) if train else -(-len(order) // 64))
        found = torch.cat([self._part(depth, chosen[part], train=train) for part in parts])
        return found[torch.from_numpy(np.argsort(order))]

    def _part(self, depth: Depths, places: NDArray[np.int64], *, train: bool) -> Tensor:
        states, mask = depth.batch(places)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = self.model.run(states, mask, first=FIRST)
        vectors = pooled(states.float(), mask)
        return self.head(functional.dropout(vectors, _DROPOUT, training=train))  # type: ignore[no-any-return]

    def parameters(self) -> list[nn.Parameter]:
        return [it for adapted in self.adapters.values() for it in (adapted.a, adapted.b)]


def fine_tune(
    material: Material, depth: Depths, steps: int = STEPS, seed: int = 0, progress: Progress = lambda _: None
) -> Student:
    """Train on bags and pieces, drawn so that every set and both labels have their say."""
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    student = Student()
    groups = [
        {"params": student.parameters(), "lr": _ADAPTER_RATE},
        {"params": student.head.parameters(), "lr": _HEAD_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / (steps * _WARM + 1)) * (1 - s / (steps + 1))
    )
    seen_bags, seen_pieces = balanced(material.bags), balanced(material.pieces)
    for step in range(steps):
        bags = [material.bags[i] for i in dice.choice(len(material.bags), PROMPTS, p=seen_bags)]
        pieces = [material.pieces[i] for i in dice.choice(len(material.pieces), PIECES, p=seen_pieces)]
        optimizer.zero_grad()
        _loss(student, depth, bags, pieces, dice).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        rate.step()
        progress((step + 1) / steps)
    return student


def _loss(student: Student, depth: Depths, bags: list[Bag], pieces: list[Piece], dice: np.random.Generator) -> Tensor:
    windows = [dice.permutation(bag.pieces)[:MOST_WINDOWS].tolist() for bag in bags]
    flat = [place for chosen in windows for place in chosen]
    found = student.logits(depth, [*flat, *(piece.place for piece in pieces)], train=True)
    split = torch.split(found[: len(flat), 0], [len(chosen) for chosen in windows])
    prompts = torch.stack([torch.logsumexp(part, 0) for part in split])
    documents = found[len(flat) :, 1]
    return _entropy(prompts, bags) + _DOCUMENT_SHARE * _entropy(documents, pieces)


def _entropy(logits: Tensor, items: Sequence[Bag | Piece]) -> Tensor:
    wanted = torch.tensor([float(item.label) for item in items]) * (1 - _SMOOTHING) + _SMOOTHING / 2
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def tables(material: Material) -> NDArray[np.float32]:
    """The n-gram tables, (2, 131073) with the biases last: logistic regression with an L2 penalty."""
    return np.stack([_table(material.bags), _table(material.pieces)])


def _table(items: Sequence[Bag | Piece]) -> NDArray[np.float32]:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression

    values = np.concatenate([np.full(len(item.grams), 1 / math.sqrt(max(1, len(item.grams)))) for item in items])
    ends = np.cumsum([0, *(len(item.grams) for item in items)])
    found = csr_matrix((values, np.concatenate([item.grams for item in items]), ends), shape=(len(items), TABLE))
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=500)
    model.fit(found, [item.label for item in items], sample_weight=balanced(items) * len(items))
    return np.append(model.coef_[0], model.intercept_[0]).astype(np.float32)


def packed(student: Student, grams: NDArray[np.float32]) -> Weights:
    """What was learned, still without curves."""
    adapters = {}
    for name, adapted in student.adapters.items():
        adapters[f"{name}.a"] = adapted.a.detach().numpy()
        adapters[f"{name}.b"] = adapted.b.detach().numpy()
    head = np.hstack([student.head.weight.detach().numpy(), student.head.bias.detach().numpy()[:, None]])
    return Weights(adapters=adapters, head=head, grams=grams, curves={})
