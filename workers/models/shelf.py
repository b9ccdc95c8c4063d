"""The cache of base models: who works in it, who uses what, and what stands there."""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from switchtower.errors import BaseModelError
from workers.models import manifest
from workers.models.manifest import Manifest
from workers.models.source import FORMS, in_cache


class Hold:
    """Says that a process uses a model, until it is released or the process dies."""

    def __init__(self, cache: Path, name: str) -> None:
        self._end: Callable[[], object] = lambda: None
        with suppress(OSError):  # where nothing may be written, nothing can be removed either
            descriptor = _open(cache, f"{name}.used")
            self._end = weakref.finalize(self, os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Use it no longer."""
        self._end()


@contextmanager
def alone(cache: Path, name: str) -> Iterator[None]:
    """Be the only one who changes the model; the kernel lets go when the process dies."""
    descriptor = _open(cache, f"{name}.made")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def stored(cache: Path) -> list[Manifest]:
    """Every form of every model in the cache."""
    found = (manifest.read(folder) for home in sorted(cache.glob("[!.]*")) for folder in map(home.joinpath, FORMS))
    return [one for one in found if one is not None]


def remove(cache: Path, name: str) -> int:
    """Remove a model with all of its forms, unless somebody uses it; returns the bytes of its files."""
    home = cache / in_cache(name)
    size = sum(one.size for one in stored(cache) if one.name == name)
    if not home.is_dir():
        raise BaseModelError(f"there is no {name} in the cache; `switchtower models list` shows what there is")
    with alone(cache, name), _unused(cache, name):
        going = cache / f".{name}.removed"
        shutil.rmtree(going, ignore_errors=True)
        home.rename(going)
        shutil.rmtree(going)
    return size


@contextmanager
def _unused(cache: Path, name: str) -> Iterator[None]:
    descriptor = _open(cache, f"{name}.used")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BaseModelError(f"{name} is in use by a running worker; stop it or unload the model first") from None
    finally:
        os.close(descriptor)


def _open(cache: Path, name: str) -> int:
    """Lock files stand beside the models and stay, so that nobody waits for one that is gone."""
    (cache / ".locks").mkdir(parents=True, exist_ok=True)
    return os.open(cache / ".locks" / name, os.O_RDWR | os.O_CREAT, 0o666)
