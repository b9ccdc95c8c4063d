"""Gives a model's memory back to the machine."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from itertools import chain
from typing import Any


def empty(model: Any) -> None:
    """Drop every number of a model; a forgotten reference to it then holds nothing."""
    for module in model.modules():
        if hasattr(module, "quant_state"):
            module.quant_state = None
    for tensor in chain(model.parameters(), model.buffers()):
        if hasattr(tensor, "quant_state"):
            tensor.quant_state = None
        tensor.data = tensor.data.new_empty(0)
    give_back()


def give_back() -> None:
    """Let the allocators return what is free: the GPU's, and glibc's, which keeps freed pages otherwise."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
