"""Quotes and escapes of the shell (POSIX.1-2024, XCU 2.2; Bash reference manual, 3.1.2.4)."""

from __future__ import annotations

import re
import sys

_NAMED = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ANSI = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,4})|c(.)|(.))", re.DOTALL
)
_PLAIN = re.compile(r"\\(.)", re.DOTALL)
_DOUBLE = re.compile(r"\\([$`\"\\\n])")
_TICKED = re.compile(r"\\([$`\\])")
_SURROGATES = range(0xD800, 0xE000)
_JOINT = re.compile(r"(?<!\\)((?:\\\\)*)\\\n")


def unescape(word: str) -> str:
    """An unquoted word without its backslashes."""
    return _PLAIN.sub(lambda found: "" if found[1] == "\n" else found[1], word)


def undouble(content: str) -> str:
    """What stands between double quotes, without the backslashes that mean something there."""
    return _DOUBLE.sub(lambda found: "" if found[1] == "\n" else found[1], content)


def untick(content: str) -> str:
    """The script between backquotes, without the backslashes that its nesting needed."""
    return _TICKED.sub(r"\1", content)


def ansi(content: str) -> str:
    """What `$'…'`, `echo -e` and `printf` make of backslash escapes; bytes above 127 read as Latin-1."""
    return _ANSI.sub(_ansi, content).replace("\0", "")


def _ansi(found: re.Match[str]) -> str:
    two, four, eight, octal, control, other = found.groups()
    if code := two or four or eight:
        return _char(int(code, 16))
    if octal:
        return _char(int(octal, 8) & 0xFF)
    if control:
        return chr(ord(control) & 0x1F)
    return _NAMED.get(other, other if other in "\\'\"?" else "\\" + other)


def _char(code: int) -> str:
    return chr(code) if code <= sys.maxunicode and code not in _SURROGATES else "\ufffd"


def joined(source: str) -> str:
    """A script with its continued lines in one piece."""
    return _JOINT.sub(r"\1", source)
