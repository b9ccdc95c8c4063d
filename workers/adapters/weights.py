"""The weights of one adapter version in host memory, as they are copied into a slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.adapters.shelf import Adapter, version_of
from workers.adapters.tensors import Linears, RawTensor, keys, parse, targets

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class HostWeights:
    """One version's checked tensors, in the file's own number format and not a byte more than the file's."""

    version: str
    rank: int
    scaling: float
    tensors: Mapping[str, tuple[Tensor, Tensor]]
    """By the linear's name its A [rank, in] and B [out, rank]."""
    nbytes: int


def host_weights(adapter: Adapter, linears: Linears) -> HostWeights:
    """The weights of an adapter that the shelf has checked; the file's bytes may be dropped after this."""
    raw = parse(adapter.card.name, adapter.weights)
    tensors = {}
    for linear in targets(adapter.shape.target_modules, linears):
        a, b = keys(linear)
        tensors[linear] = (_tensor(raw[a]), _tensor(raw[b]))
    return HostWeights(
        version=version_of(adapter.card),
        rank=adapter.shape.r,
        scaling=adapter.shape.lora_alpha / adapter.shape.r,
        tensors=tensors,
        nbytes=sum(len(one.data) for one in raw.values()),
    )


def _tensor(raw: RawTensor) -> Tensor:
    import torch

    dtypes = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    return torch.frombuffer(raw.data, dtype=dtypes[raw.dtype]).reshape(raw.shape)
