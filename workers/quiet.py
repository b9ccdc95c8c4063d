"""Keeps third-party chatter off the terminal while a model loads."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def offline() -> None:
    """Forbid the Hugging Face libraries the network; call it before they are imported."""
    os.environ.update(_OFFLINE)


@contextmanager
def quiet() -> Iterator[None]:
    """Mute transformers' bars and remarks inside the block, its errors not."""
    offline()
    # bitsandbytes warns that an optional kernel from the network is missing; we never want it.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # PyTorch's own mkldnn helpers still use torch.jit, and PEFT an older name of transformers.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        with _muted_transformers():
            yield


@contextmanager
def _muted_transformers() -> Iterator[None]:
    from transformers.utils import logging as hf

    verbosity, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(verbosity)
        if bars:
            hf.enable_progress_bar()
