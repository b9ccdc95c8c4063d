"""The weights of one adapter version in host memory, as they are copied into a slot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from workers.adapters.shelf import Adapter, version_of
from workers.adapters.tensors import Linears, RawTensor, keys, parse, targets

if TYPE_CHECKING:
    from torch import Tensor, dtype


@dataclass(frozen=True, eq=False)
class HostWeights:
    """One version's checked tensors, in the file's own number format and in one piece of memory of the file's size."""

    version: str
    rank: int
    scaling: float
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    """By the linear's name its A [rank, in] and B [out, rank]."""
    nbytes: int


def host_weights(adapter: Adapter, linears: Linears) -> HostWeights:
    """The weights of an adapter that the shelf has checked; the file's bytes may be dropped after this."""
    raw = parse(adapter.card.name, adapter.weights)
    tensors = _Packed(raw, targets(adapter.shape.target_modules, linears))
    scaling = adapter.shape.lora_alpha / adapter.shape.r
    return HostWeights(version_of(adapter.card), adapter.shape.r, scaling, tensors, tensors.nbytes)


class _Place(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    offset: int


class _Packed(Mapping[str, "tuple[Tensor, Tensor]"]):
    """Views that are made when they are asked for: kept, those of a small adapter weigh a fifth of its numbers."""

    def __init__(self, raw: Mapping[str, RawTensor], linears: Sequence[str]) -> None:
        self._memory = bytearray(sum(len(one.data) for one in raw.values()))
        places: dict[str, _Place] = {}
        offset = 0
        for key in sorted(raw, key=lambda key: -raw[key].itemsize):  # so that every number is aligned
            places[key] = _Place(raw[key].dtype, raw[key].shape, offset)
            offset, begin = offset + len(raw[key].data), offset
            self._memory[begin:offset] = raw[key].data
        self._places = {linear: (places[a], places[b]) for linear in linears for a, b in [keys(linear)]}

    @property
    def nbytes(self) -> int:
        return len(self._memory)

    def __getitem__(self, linear: str) -> tuple[Tensor, Tensor]:
        a, b = self._places[linear]
        return self._view(a), self._view(b)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _view(self, place: _Place) -> Tensor:
        import torch

        kind, count = _dtypes()[place.dtype], math.prod(place.shape)
        return torch.frombuffer(self._memory, dtype=kind, count=count, offset=place.offset).view(place.shape)


@cache
def _dtypes() -> dict[str, dtype]:
    import torch

    return {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
