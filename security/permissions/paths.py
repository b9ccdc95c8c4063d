"""The names of files as models write them, brought into the one form that is decided on and opened."""

from __future__ import annotations

import unicodedata

from switchtower.errors import PathEscapes, PermissionRefused

ROOT = "/"
"""How policies name the root itself."""

MAX_BYTES = 4095
MAX_NAME_BYTES = 255
MAX_DEPTH = 64
_UNREADABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's controls, lone surrogates (what is not UTF-8), and separators of lines."""
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""The bidirectional controls of Unicode Standard Annex 9: with them a name looks like another."""


def canonical(name: str) -> str:
    """The path beneath the root, such as `downloads/report.txt`; the same for every spelling of it.

    A leading slash is the model's own root, as in a chroot. Dots are resolved by their letters alone, which is what
    the opener does too, because it follows no links. Raises `PathEscapes` where they lead out, and
    `PermissionRefused` where this is no name of a file.
    """
    _refuse_unspeakable(name)
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise PathEscapes("the path leads out of the root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    _refuse_unopenable(parts)
    return "/".join(parts)


def lineage(path: str) -> tuple[str, ...]:
    """A canonical path and every folder above it, up to the root."""
    parts = path.split("/")
    return (*("/".join(parts[:end]) for end in range(len(parts), 0, -1)), ROOT)


def _refuse_unspeakable(name: str) -> None:
    if any(unicodedata.category(letter) in _UNREADABLE or letter in _REORDERING for letter in name):
        raise PermissionRefused("the path holds control characters, or is not UTF-8")
    if "\\" in name:
        raise PermissionRefused("the path holds a backslash; folders are separated by /")
    if len(name.encode()) > MAX_BYTES:
        raise PermissionRefused(f"the path is longer than {MAX_BYTES} bytes")


def _refuse_unopenable(parts: list[str]) -> None:
    if not parts:
        raise PermissionRefused("the path names no file beneath the root")
    if len(parts) > MAX_DEPTH:
        raise PermissionRefused(f"the path is deeper than {MAX_DEPTH} folders")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise PermissionRefused(f"a name in the path is longer than {MAX_NAME_BYTES} bytes")
