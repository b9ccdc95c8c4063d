"""Keeps third-party libraries quiet, off the network and off the processors while a model loads."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def calm_threads() -> None:
    """Let idle OpenMP threads sleep; call it before torch is imported.

    Spinning ones slow each other down tenfold on a busy machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def offline() -> None:
    """Forbid the Hugging Face libraries the network; call it before they are imported."""
    calm_threads()
    os.environ.update(_OFFLINE)
    no_kernels()


def no_kernels() -> None:
    """Make the package `kernels` look as if it were not installed.

    bitsandbytes and transformers take compute code from the network through it wherever they find it.
    """
    os.environ["USE_HUB_KERNELS"] = "NO"
    sys.modules["kernels"] = None  # type: ignore[assignment]


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
