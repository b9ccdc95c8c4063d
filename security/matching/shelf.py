"""Compiled databases on disk, so that a process starts in milliseconds and not in seconds.

A database is code for the matching engine: whoever can write it decides what the guardrail sees. So a file is read only
where nobody but this user can have written it. What is damaged, foreign or cannot be kept is compiled again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

_KEPT = 32
_PATIENCE_S = 30
_LOOK_S = 0.05
_DIGEST = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


def folder() -> Path:
    """Where compiled databases lie; `XDG_CACHE_HOME` moves it."""
    return user_cache_path("switchtower") / "matching"


def fetch(name: str) -> bytes | None:
    """What was kept under this name, or None where it is missing, damaged, or others could have written it."""
    try:
        data = _read(folder() / name)
    except OSError:
        return None
    digest, database = data[:_DIGEST], data[_DIGEST:]
    return database if hashlib.sha256(database).digest() == digest else None


def keep(name: str, database: bytes) -> None:
    """Keep a database for other processes; where that fails, they compile it themselves."""
    try:
        _check_place()
        _write(folder() / name, hashlib.sha256(database).digest() + database)
        _forget_oldest()
    except OSError as error:
        _log.info("compiled rules are not kept in %s: %s", folder(), error.strerror)


@contextmanager
def turn(name: str) -> Iterator[None]:
    """Wait a while for other processes that compile the same; without a folder of one's own, do not wait."""
    try:
        lock = os.open(_made() / f"lock-{name[0]}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        _wait_for(lock)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it to a child that was forked meanwhile
        os.close(lock)


def _wait_for(lock: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_LOOK_S)


def _made() -> Path:
    place = folder()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def _read(path: Path) -> bytes:
    _check_place()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        _check_own(os.fstat(file.fileno()), path)
        os.utime(file.fileno())
        return file.read()


def _write(path: Path, data: bytes) -> None:
    handle, draft = tempfile.mkstemp(dir=path.parent)  # readable and writable by this user alone
    try:
        with open(handle, "wb") as file:
            file.write(data)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _check_place() -> None:
    """Raise PermissionError where somebody else could have put a file, or the whole folder, here."""
    place = _made()
    _check_own(place.lstat(), place)
    for above in place.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(0, f"{above} is writable by everybody", str(above))


def _check_own(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or stat.S_ISLNK(found.st_mode):
        raise PermissionError(0, f"{path} is writable by others", str(path))


def _forget_oldest() -> None:
    files = [path for path in folder().iterdir() if not path.name.startswith("lock-")]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
        path.unlink(missing_ok=True)
