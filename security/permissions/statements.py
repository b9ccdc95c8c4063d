"""Where each policy stands in its file: Cedar's own errors say no line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One policy as text, and the line that it begins on."""

    text: str
    line: int


def statements(source: str) -> Iterator[Statement]:
    """Each policy of a file; what stands behind the last semicolon is one too, if it is more than comments."""
    start, first, line = 0, 0, 1
    for place, letter, is_code in _letters(source):
        if is_code and not letter.isspace() and not first:
            start, first = place, line
        line += letter == "\n"
        if is_code and letter == ";":
            yield Statement(source[start : place + 1], first)
            first = 0
    if first:
        yield Statement(source[start:], first)


def _letters(source: str) -> Iterator[tuple[int, str, bool]]:
    """Each letter, and whether it stands outside comments and strings; a quotation mark counts as outside."""
    state = ""
    escaped = False
    for place, letter in enumerate(source):
        if state == "//":
            state = "" if letter == "\n" else state
            yield place, letter, False
        elif state == '"':
            yield place, letter, False
            state = "" if letter == '"' and not escaped else state
            escaped = letter == "\\" and not escaped
        else:
            state = "//" if source.startswith("//", place) else '"' if letter == '"' else ""
            yield place, letter, state != "//"
