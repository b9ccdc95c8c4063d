"""Cuts a document into the pieces in which an order can hide: sentences, lines, cells, fields of a tool's answer."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST = 320
_SHORTEST = 8
_CUT = "\x00"
_ENDS = (
    "\N{IDEOGRAPHIC FULL STOP}",
    "\N{FULLWIDTH EXCLAMATION MARK}",
    "\N{FULLWIDTH QUESTION MARK}",
    "\N{DEVANAGARI DANDA}",
)
_AFTER = (". ", "! ", "? ", "; ", *_ENDS, "\n", "\t")
_INSTEAD = ("': '", "', '", '": "', '", "', "': \"", "\", '", "'}", '"}', "'], ", '"], ', " | ", "|")


def segments(text: str) -> list[str]:
    """The pieces of a text in order, each once, at most 320 characters long.

    Pieces of fewer than eight characters go with what follows, so that one word per line hides nothing.
    """
    for mark in _INSTEAD:
        text = text.replace(mark, _CUT)
    for mark in _AFTER:
        text = text.replace(mark, mark + _CUT)
    return list(dict.fromkeys(_joined(text.split(_CUT)))) or [""]


def _joined(parts: list[str]) -> Iterator[str]:
    waiting = ""
    for part in parts:
        waiting = f"{waiting} {part.strip()}".strip()
        if len(waiting) >= _SHORTEST:
            yield from (waiting[start : start + LONGEST] for start in range(0, len(waiting), LONGEST))
            waiting = ""
    if waiting:
        yield waiting
