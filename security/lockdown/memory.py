"""What a controller must not forget, in small files of its own that are on the disk before anything follows."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import Field, ValidationError

from switchtower.errors import ConfigurationError
from switchtower.models import Frozen

T = TypeVar("T", bound=Frozen)
_PATIENCE_S, _LOOK_S = 2.0, 0.05
"""A controller whose supervisor was killed ends within half a second."""


class Memory(Frozen):
    """The highest epoch that this controller has seen, and whether the line was open in it."""

    epoch: int = 0
    open: bool = False
    reason: str = ""
    by: str = ""
    since: int = 0
    head: int | None = None
    """How far the audit had come when this controller learned of the lockdown."""
    tripped: tuple[str, ...] = ()
    """The resources that were exhausted when last looked at: each raises once."""


class Book(Frozen):
    """Attempts to release: what was tried, what is used up, who has agreed."""

    failures: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """When each operator's attempts failed, by name (ms)."""
    codes: dict[str, int] = Field(default_factory=dict)
    """The latest time step of which a code was used, by key."""
    nonces: dict[str, int] = Field(default_factory=dict)
    """Requests that were read, and until when they could come again (ms)."""
    epoch: int = 0
    consents: dict[str, int] = Field(default_factory=dict)
    """Who has asked for the release of this epoch, and when (ms)."""


class Store(Generic[T]):
    """One such file."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._kind = kind

    def load(self) -> T:
        """What was saved last, or the kind's defaults; raises `ConfigurationError` where the file is damaged."""
        try:
            return self._kind.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return self._kind()
        except ValidationError:
            raise ConfigurationError(
                f"{self._path} is damaged; move it away, and release the lockdown that follows"
            ) from None

    def save(self, value: T) -> T:
        """Write the value so that a crash leaves either the old one or the new one."""
        write_private(self._path, value.model_dump_json(indent=1))
        return value


def write_private(path: Path, text: str) -> None:
    """Replace a file, readable by its owner only, and come back when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def memory_store(folder: Path) -> Store[Memory]:
    return Store(folder / "memory.json", Memory)


def book_store(folder: Path) -> Store[Book]:
    return Store(folder / "releases.json", Book)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder; raises `ConfigurationError` where another controller holds it and does not end soon."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        until = time.monotonic() + _PATIENCE_S
        while not _taken(lock):
            if time.monotonic() > until:
                raise ConfigurationError(
                    f"a controller runs with {folder} already; a second one needs SWITCHTOWER_LOCKDOWN__DIRECTORY"
                )
            time.sleep(_LOOK_S)
        yield


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
