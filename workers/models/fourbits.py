"""Where weights in 4 bits are computed well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from switchtower.errors import BaseModelError
from workers.models.loading import blueprint
from workers.models.targets import targets
from workers.quiet import quiet

Shape = tuple[int, int]

_IN, _OUT = 64, 32
"""bitsandbytes packs so many weights together on CPUs; other shapes end in an assertion."""


def computes_well(device: str) -> bool:
    """Whether this device answers batches faster from 4 bits than from bf16.

    A CPU with AMX does not: it multiplies bf16 in tiles, for sixteen rows in the time of one, and 4 bits row by row.
    """
    if device.startswith("cuda"):
        return True
    import torch

    return repacks() and not torch.cpu._is_amx_tile_supported()


def repacks() -> bool:
    """Whether bitsandbytes has 4-bit products of its own on this CPU, for which it packs the weights anew."""
    with quiet():
        from bitsandbytes.functional import has_avx512bf16

        return bool(has_avx512bf16())


def fits(dense: Path, device: str) -> bool:
    """Whether the model's layers have shapes that the device can pack."""
    return not _unfit(targets(blueprint(dense)), device)


def expect_fit(name: str, shapes: Mapping[str, Shape], device: str) -> None:
    """Refuse shapes that would fail at the first token."""
    for layer, (out, into) in _unfit(shapes, device).items():
        why = f"a CPU packs multiples of {_OUT} by {_IN} only"
        raise BaseModelError(f"{name}: {layer} is {out} by {into}, and {why}; set local.weights=bf16")


def _unfit(shapes: Mapping[str, Shape], device: str) -> dict[str, Shape]:
    if device.startswith("cuda") or not repacks():
        return {}
    return {name: shape for name, shape in shapes.items() if shape[0] % _OUT or shape[1] % _IN}
