"""Marks for what cannot be known before a command runs; they stand inside strings, as characters of their own.

A value such as `/tmp/` + UNKNOWN says that the path begins with `/tmp/` and that nobody knows how it goes on. The marks
are private-use characters, so the parser takes them for letters; a source that holds them loses them first.
"""

from __future__ import annotations

import re

UNKNOWN = "\ue000"
"""Any text, also none."""
REMOTE = "\ue001"
"""Any text that somebody else on the network chooses."""
HIDDEN = "\ue002"
"""Any text that came out of a decoder."""
UNSET = "\ue003"
"""The value of a variable that the script does not set: unknown, but not for the script to choose."""
SESSION = "\ue004"
"""What a shell prints that takes its commands from elsewhere."""
DOCUMENT = "\ue005"
"""Begins the name by which the walker knows a here-document; its value is known."""
_MARKS = (UNKNOWN, REMOTE, HIDDEN, UNSET, SESSION)
_SPARED = str.maketrans({**dict.fromkeys((*_MARKS, DOCUMENT), "\ufffd"), "\0": None})
_RUN = f"[{''.join(_MARKS)}]+"
_INNER = re.compile(rf"(?<=[^/=:\s]){_RUN}|{_RUN}(?![/*?.\s]|{_RUN}|$)")
_DROPPED = str.maketrans(dict.fromkeys(_MARKS))


def unmarked(source: str) -> str:
    """A source without marks of its own, without NUL, which shells drop, and without lone surrogates."""
    plain = source.translate(_SPARED)
    return plain if plain.isascii() else plain.encode("utf-8", "replace").decode("utf-8")


def open_ended(value: str) -> bool:
    """Whether a part of the value is not known."""
    return not value.isascii() and any(mark in value for mark in _MARKS)


def emptied(value: str) -> str:
    """The value as it reads where every unknown part turns out to be empty."""
    return value if value.isascii() else value.translate(_DROPPED)


def spliced(value: str) -> str:
    """The value without the unknown parts inside its words: as an empty variable leaves `r${x}m` and `-r${x}f`.

    A whole component of a path stays unknown, and so does a value of which nothing is known.
    """
    return value if value.isascii() or not emptied(value) else _INNER.sub("", value)


def blurred(value: str) -> str:
    """What is known of a text that was made from this one: where it came from."""
    return REMOTE if REMOTE in value else HIDDEN if HIDDEN in value else UNKNOWN
