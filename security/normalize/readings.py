"""Every different reading of a text that rules look at, and how each was found.

A text in plain ASCII without a trace of disguise has one reading, itself: that is the fast path. Otherwise characters
are cleaned first (invisible and compatibility characters, letters that only look Latin), then words (digits for
letters, letters set apart), then encodings are decoded in their place, and what comes out is read again, twice at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from security.matching import Matcher, matcher
from security.normalize import disguises, encodings, lookalikes
from security.normalize.characters import clean, fold, unquote
from switchtower.models import Surface

DEPTH = 2
AS_IT_CAME = "as it came"

_DISGUISES = encodings.HINTS | disguises.HINTS
_PROSE = frozenset({Surface.INPUT, Surface.DOCUMENT})
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a text."""

    view: str
    text: str


Look = Callable[[Reading], None]


def read(text: str, surface: Surface, look: Look) -> None:
    """Show every different reading of a text on this surface, the text itself first."""
    look(Reading(AS_IT_CAME, text))
    hints = _hints(text)
    if hints or surface is Surface.COMMAND or not text.isascii():
        _Walk(surface, look, text).level((), text, hints, DEPTH)


class _Walk:
    """Shows one reading after the other, none of them twice."""

    def __init__(self, surface: Surface, look: Look, text: str) -> None:
        self._surface = surface
        self._look = look
        self._shown = {text}

    def level(self, path: tuple[str, ...], text: str, hints: frozenset[str], depth: int) -> None:
        """All readings of a text that is itself shown already."""
        plain = self._characters(path, text)
        hints = hints if plain is text else _hints(plain)
        self._words(path, plain, hints)
        if depth:
            self._decoded(path, plain, hints, depth)

    def _show(self, path: tuple[str, ...], text: str) -> None:
        if text not in self._shown:
            self._shown.add(text)
            self._look(Reading(", ".join(path), text))

    def _characters(self, path: tuple[str, ...], text: str) -> str:
        if text.isascii():
            return text
        plain = clean(text)
        self._show((*path, "cleaned"), plain)
        if plain.isascii():
            return plain
        self._show((*path, "folded"), fold(plain))
        bare = lookalikes.latin(plain) if _set(lookalikes.HINTS).search(plain) else plain
        self._show((*path, "look-alikes"), bare)
        return bare

    def _words(self, path: tuple[str, ...], text: str, hints: frozenset[str]) -> None:
        if self._surface is Surface.COMMAND:
            self._show((*path, "unquoted"), unquote(text))
        if self._surface in _PROSE and hints & disguises.HINTS.keys():
            whole = disguises.joined(text) if "split" in hints else text
            self._show((*path, "joined"), whole)
            self._show((*path, "leetspeak"), disguises.unleeted(whole))

    def _decoded(self, path: tuple[str, ...], text: str, hints: frozenset[str], depth: int) -> None:
        plain, names = encodings.decoded(text, hints)
        if names:
            deeper = (*path, f"{'+'.join(names)}-decoded")
            self._show(deeper, plain)
            self.level(deeper, plain, _hints(plain), depth - 1)


def _hints(text: str) -> frozenset[str]:
    """Which disguises a text may wear that are written in ASCII."""
    if places := _set(tuple(_DISGUISES.values())).search(text):
        return frozenset(name for place, name in enumerate(_DISGUISES) if place in places)
    return _NOTHING


@cache
def _set(patterns: tuple[str, ...]) -> Matcher:
    # A few simple patterns at once: RE2 takes the same time for all of them as for one, and Hyperscan the sum.
    return matcher(patterns, "re2")
