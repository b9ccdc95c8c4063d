"""Weights as four bits round them, computed in bf16: the numbers of the form that is served in NF4, anywhere.

So a training meets both forms, and a measurement of both needs no device that computes four bits well.
"""

from __future__ import annotations

from typing import Any

from workers.models.base import BaseModel


def rounded(weight: Any) -> Any:
    """A weight after NF4 with double quantisation, in its own precision again."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    return dequantize_4bit(*quantize_4bit(weight, quant_type="nf4", compress_statistics=True)).to(weight.dtype)


def round_linears(base: BaseModel) -> BaseModel:
    """The dense base with each of its linears rounded, in place."""
    for name in base.linears():
        linear = base.model.get_submodule(name)
        linear.weight.data = rounded(linear.weight.data)
    return base
