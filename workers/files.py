"""The files that models may touch: opened beneath their tenant's root, by the very path that was decided on.

A decision names a canonical path. The kernel resolves just that path beneath the root and refuses every symbolic
link on the way (openat2(2) with RESOLVE_BENEATH, Linux 5.6); so whatever is swapped after the decision, nothing
else is opened. Where the system call is missing or a container forbids it, each folder is opened from the one above
it with O_NOFOLLOW, which holds as well, because a canonical path has no dots.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self
from urllib.parse import quote

from security.permissions.paths import canonical
from switchtower.errors import ConfigurationError, PathEscapes, PermissionRefused
from switchtower.messages import PermissionDecision, Permitted, now_ms
from switchtower.settings import Settings

FOLDERS = ("downloads", "uploads", "uploads/.versions", "rag/embeddings", "rag/metadata")
"""What stands beneath every tenant's root."""

Opener = Callable[[int, str, int], int]
"""Opens a canonical path beneath an open folder, with these flags; returns the descriptor."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO without a writer must not hang us
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# include/uapi/asm-generic/unistd.h and include/uapi/linux/openat2.h; the number is the same on all of our platforms.
_SYS_OPENAT2 = 437
_RESOLVE = 0x02 | 0x04 | 0x08
"""RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH."""
_TRIES = 16
"""openat2 says EAGAIN where something was renamed meanwhile."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def kernel_opener(root: int, path: str, flags: int) -> int:
    """Open with one system call that never leaves the root."""
    how = _How(flags, 0, _RESOLVE)
    for _ in range(_TRIES):
        found: int = _libc().syscall(_SYS_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


def walking_opener(root: int, path: str, flags: int) -> int:
    """Open folder after folder, following no link."""
    *above, name = path.split("/")
    folder = os.dup(root)
    try:
        for part in above:
            folder, left = _open_one(part, _FOLDER, folder), folder
            os.close(left)
        return _open_one(name, flags, folder)
    finally:
        os.close(folder)


def _open_one(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def best_opener() -> Opener:
    """The kernel's where it has one and lets us use it."""
    root = os.open("/", _FOLDER)
    try:
        os.close(kernel_opener(root, ".", _FOLDER))
        return kernel_opener
    except OSError:
        return walking_opener
    finally:
        os.close(root)


class Files:
    """One tenant's files; safe to share between threads. Close it, or use it in a `with`."""

    def __init__(self, root: Path, tenant: str, max_bytes: int, opener: Opener | None = None) -> None:
        self._opener = opener or best_opener()
        self._max_bytes = max_bytes
        self._tenant = tenant
        # The name of a tenant is a name, and no path.
        self._root = _made(root, quote(tenant, safe=""), self._opener)

    @classmethod
    def of(cls, settings: Settings, tenant: str) -> Self:
        """The files of a tenant where the settings say; makes the folders that are not there."""
        root = settings.permissions.root or settings.home / "files"
        return cls(root, tenant, settings.permissions.max_file_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._root)

    def read(self, decision: PermissionDecision) -> bytes:
        """The file that the decision permits to read.

        Raises `PermissionRefused` where it does not, or where this is no plain file of its own or is too large;
        `PathEscapes` at a link; an `OSError` such as `FileNotFoundError`, with the path beneath the root.
        """
        path = self._permitted(decision, "file_read")
        with _refusals(path), _closing(self._opener(self._root, path, _READ)) as file:
            _expect_plain(os.fstat(file), path)
            with open(file, "rb", closefd=False) as stream:
                found = stream.read(self._max_bytes + 1)
        self._expect_small(found, path)
        return found

    def write(self, decision: PermissionDecision, data: bytes) -> None:
        """Put the data into the file that the decision permits to write, whole or not at all.

        Folders on the way are made. Raises as `read` does.
        """
        path = self._permitted(decision, "file_write")
        self._expect_small(data, path)
        above, _, name = path.rpartition("/")
        with _refusals(path), _closing(_folder(self._root, above, self._opener)) as folder:
            with suppress(FileNotFoundError):
                _expect_plain(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            _replace(folder, name, data)

    def _permitted(self, decision: PermissionDecision, action: Permitted) -> str:
        """The path, if the decision is a yes to this that may still be used."""
        if not decision.granted or decision.action != action or decision.tenant != self._tenant:
            raise PermissionRefused
        if decision.expires is None or decision.expires <= now_ms():
            raise PermissionRefused("the permission is over; ask again")
        if canonical(decision.resource) != decision.resource:
            raise PathEscapes("the path is not in its canonical form")
        return decision.resource

    def _expect_small(self, data: bytes, path: str) -> None:
        if len(data) > self._max_bytes:
            raise PermissionRefused(f"{path}: larger than {self._max_bytes} bytes")


def _made(root: Path, tenant: str, opener: Opener) -> int:
    """The tenant's folder directly beneath the root, with all that belongs into it."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _closing(os.open(root, _FOLDER)) as folder:
            for name in FOLDERS:
                os.close(_folder(folder, f"{tenant}/{name}", opener))
            return _folder(folder, tenant, opener)
    except OSError as error:
        raise ConfigurationError(f"{root}/{tenant}: models' files cannot be kept here: {error.strerror}") from error


def _folder(root: int, path: str, opener: Opener) -> int:
    """The folder of a canonical path, '' for the root itself, made if need be."""
    if not path:
        return os.dup(root)
    try:
        return opener(root, path, _FOLDER)
    except FileNotFoundError:
        above, _, name = path.rpartition("/")
        with _closing(_folder(root, above, opener)) as folder, suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=folder)
        return opener(root, path, _FOLDER)


def _replace(folder: int, name: str, data: bytes) -> None:
    """Write beside the name, then rename: who reads sees the old file or the new one, and a link is not followed."""
    draft = f".{secrets.token_hex(8)}.part"
    try:
        with open(os.open(draft, _CREATE, 0o644, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        raise
    os.fsync(folder)


def _expect_plain(found: os.stat_result, path: str) -> None:
    """A device or a pipe is no file, and a file with a second name may belong to somebody outside."""
    if stat.S_ISLNK(found.st_mode):
        raise PathEscapes(f"{path}: a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        raise PermissionRefused(f"{path}: not a plain file")
    if found.st_nlink > 1:
        raise PermissionRefused(f"{path}: the file has {found.st_nlink} hard links; copy it")


@contextmanager
def _refusals(path: str) -> Iterator[None]:
    """Say in our words what the kernel refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise PathEscapes(f"{path}: a symbolic link stands in the path") from None
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.EISDIR):
            raise PermissionRefused(f"{path}: not a plain file") from None
        raise


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
