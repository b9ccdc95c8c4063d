"""An adapter's folder, opened once: all its files are read from that very folder, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Self

from switchtower.errors import AdapterCorrupt, AdapterEscapes, AdapterNotFound, AdapterOversized
from workers.files import best_opener

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO without a writer must not hang us
_LINKS = (errno.ELOOP, errno.EXDEV)


class Folder:
    """One adapter's files; replaced by a rename meanwhile, they stay those of the folder that was opened."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._descriptor = _opened(directory, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def read(self, file: str, limit: int) -> bytes:
        """The file's bytes, if it is a plain file of at most so many."""
        descriptor = self._opened(file)
        with open(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise AdapterCorrupt(f"{self.name}: {file} is not a plain file")
            if found.st_size > limit:
                raise AdapterOversized(f"{self.name}: {file} is larger than {limit / 2**20:g} MiB")
            return stream.read(found.st_size)

    def size(self, file: str) -> int:
        """The size of the file in bytes, 0 where there is none."""
        try:
            return os.stat(file, dir_fd=self._descriptor, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def names(self) -> list[str]:
        """What lies in the folder."""
        return os.listdir(self._descriptor)

    def _opened(self, file: str) -> int:
        try:
            return best_opener()(self._descriptor, file, _READ)
        except OSError as error:
            if error.errno in _LINKS:
                raise _escape(self.name, file) from None
            raise AdapterCorrupt(f"{self.name}: cannot read {file}: {error.strerror}") from None


def _opened(directory: Path, name: str) -> int:
    try:
        root = os.open(directory, _FOLDER)
    except OSError as error:
        raise AdapterNotFound(f"there is no adapter {name!r}: {directory}: {error.strerror}") from None
    try:
        return best_opener()(root, name, _FOLDER)
    except OSError as error:
        if error.errno in _LINKS:
            raise _escape(name, "its folder") from None
        raise AdapterNotFound(f"there is no adapter {name!r} in {directory}: {error.strerror}") from None
    finally:
        os.close(root)


def _escape(name: str, what: str) -> AdapterEscapes:
    return AdapterEscapes(f"{name}: {what} is a link, which may lead outside the adapters' directory; copy it")
