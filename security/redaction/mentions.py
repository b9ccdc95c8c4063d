"""Values that were given away once, wherever else they are mentioned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from security.redaction.entities import Entity, Kind
from security.redaction.pattern import compiled

SHORTEST, LONGEST = 3, 256
"""Characters of a value that is looked for by itself."""
MOST = 32
"""Values that begin with the same word and are looked for, so that no text makes this slow."""

_WORD = compiled(r"[\p{L}\p{M}\p{N}]+")


class Mentions:
    """Known values and, of people, each part of their names; a text is read once, however many values there are."""

    def __init__(self, values: Iterable[tuple[str, Kind]]) -> None:
        self._kinds: dict[str, Kind] = {}
        self._places: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
        for value, kind in values:
            self._add(value, kind)
            if kind is Kind.PERSON:
                for part in filter(str.istitle, value.replace(".", " ").split()):
                    self._add(part, kind)

    def find(self, text: str) -> Iterator[Entity]:
        """Where the values stand in a text, as words of their own."""
        if not self._kinds:
            return
        for word in _WORD.finditer(text):
            for before, length in self._places.get(word.group(), ()):
                start = max(0, word.start() - before)
                found = text[start : start + length]
                end = start + len(found)
                if found in self._kinds and not text[end : end + 1].isalnum():
                    yield Entity(start, end, self._kinds[found], cued=True)

    def _add(self, value: str, kind: Kind) -> None:
        """Remember a value by its first word: how much of it stands before that word, and how long it is."""
        first = _WORD.search(value)
        if first and SHORTEST <= len(value) <= LONGEST and len(self._places[first.group()]) < MOST:
            self._kinds.setdefault(value, kind)
            self._places[first.group()].add((first.start(), len(value)))
