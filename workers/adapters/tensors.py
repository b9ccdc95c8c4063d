"""The tensors of an adapter: read from bytes, and checked one by one against the base model's linears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from switchtower.errors import AdapterCorrupt, AdapterForeign, AdapterUnsupported

PREFIX = "base_model.model."

Linears = Mapping[str, tuple[int, int]]
"""The base model's linears by name, each with its (out, in) features."""

_EXPONENTS = {"BF16": ("<u2", 0x7F80), "F16": ("<u2", 0x7C00), "F32": ("<u4", 0x7F800000)}
"""How a number is read as an integer, and the bits that are all set in infinities and NaNs only."""


@dataclass(frozen=True)
class RawTensor:
    """One tensor as it stands in the file."""

    dtype: str
    shape: tuple[int, ...]
    data: bytearray

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return int(_EXPONENTS[self.dtype][0][-1])

    def is_finite(self) -> bool:
        """Whether every number is one."""
        import numpy as np

        integers, exponent = _EXPONENTS[self.dtype]
        return not bool(((np.frombuffer(self.data, integers) & exponent) == exponent).any())


def parse(name: str, weights: bytes) -> dict[str, RawTensor]:
    """The tensors in the bytes of a safetensors file, each in memory of its own."""
    import safetensors

    read: Any = safetensors.deserialize
    try:
        found: list[tuple[str, dict[str, Any]]] = read(weights)
    except safetensors.SafetensorError as error:
        raise AdapterCorrupt(f"{name}: its weights are not a safetensors file ({error})") from None
    return {tensor: RawTensor(about["dtype"], tuple(about["shape"]), about["data"]) for tensor, about in found}


def targets(names: tuple[str, ...], linears: Linears) -> list[str]:
    """The linears that the target modules name, by PEFT's rule: the whole name or the end of it after a dot."""
    endings = tuple(f".{name}" for name in names)
    return [linear for linear in linears if f".{linear}".endswith(endings)]


def keys(linear: str) -> tuple[str, str]:
    """The names of a linear's A and B in PEFT's file."""
    return f"{PREFIX}{linear}.lora_A.weight", f"{PREFIX}{linear}.lora_B.weight"


def check(name: str, found: Mapping[str, RawTensor], rank: int, names: tuple[str, ...], linears: Linears) -> None:
    """Refuse unless these are the tensors of such an adapter on this base, all of them, and all numbers."""
    expected: dict[str, tuple[int, ...]] = {}
    for linear in targets(names, linears):
        out_features, in_features = linears[linear]
        expected |= zip(keys(linear), ((rank, in_features), (out_features, rank)), strict=True)
    _check_names(name, found, expected)
    for tensor, raw in sorted(found.items()):
        _check_tensor(f"{name}: {tensor}", raw, expected[tensor])


def _check_names(name: str, found: Mapping[str, RawTensor], expected: Mapping[str, tuple[int, ...]]) -> None:
    if not expected:
        raise AdapterForeign(f"{name}: the base model has none of its target modules")
    if missing := expected.keys() - found.keys():
        raise AdapterCorrupt(f"{name}: {len(missing)} tensors are missing, the first is {min(missing)}")
    if unknown := found.keys() - expected.keys():
        raise AdapterUnsupported(f"{name}: {len(unknown)} tensors fit nowhere, the first is {min(unknown)}")


def _check_tensor(name: str, raw: RawTensor, shape: tuple[int, ...]) -> None:
    if raw.shape != shape:
        raise AdapterCorrupt(f"{name} has the shape {raw.shape}; the base model needs {shape}")
    if raw.dtype not in _EXPONENTS:
        raise AdapterUnsupported(f"{name} is in {raw.dtype}; only {', '.join(sorted(_EXPONENTS))} are read")
    if not raw.is_finite():
        raise AdapterCorrupt(f"{name} holds NaN or infinity; train the adapter again")
