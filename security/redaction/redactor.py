"""Takes private values out of texts and remembers what stood where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from security.redaction.alignment import Aligned, aligned
from security.redaction.entities import Entity, Kind, resolved
from security.redaction.finder import Finder, finder
from security.redaction.mentions import Mentions
from security.redaction.placeholders import read, written


@dataclass(frozen=True)
class Redacted:
    """Texts without their private values, and the value of each placeholder."""

    texts: tuple[str, ...]
    entries: dict[str, str]

    @property
    def text(self) -> str:
        """The first text."""
        return self.texts[0]


class Redactor:
    """Replaces private values by placeholders; safe to share between threads."""

    def __init__(self, found_by: Finder | None = None) -> None:
        self._finder = found_by or finder()

    def redact(self, text: str, tag: str) -> Redacted:
        """One text without its private values."""
        return self.redact_all((text,), tag)

    def redact_all(self, texts: Iterable[str], tag: str) -> Redacted:
        """Texts that belong together, such as a conversation's turns.

        The same value has the same placeholder in all of them, and what gives a name away in one holds for all.
        Takes time linear in the texts; the same texts and tag give the same result.
        """
        given = tuple(texts)
        names = _Names(tag)
        found = self.entities(given, tag)
        replaced = tuple(names.replace(text, some) for text, some in zip(given, found, strict=True))
        return Redacted(replaced, {placeholder: value for value, placeholder in names.known.items()})

    def entities(self, texts: Iterable[str], tag: str) -> list[list[Entity]]:
        """Where the private values stand in each text, in order and without overlap."""
        plain = [aligned(text) for text in texts]
        first = [resolved(self._finder.find(one.text)) for one in plain]
        mentions = Mentions(_cued(plain, first))
        return [
            resolved(_back(one, entity) for entity in (*some, *mentions.find(one.text), *_forged(one.text, tag)))
            for one, some in zip(plain, first, strict=True)
        ]


def _forged(text: str, tag: str) -> Iterator[Entity]:
    """What reads like one of the job's own placeholders."""
    return (Entity(start, end, Kind.TEXT) for start, end, _ in read(text, tag))


def _cued(texts: list[Aligned], found: list[list[Entity]]) -> Iterator[tuple[str, Kind]]:
    for one, some in zip(texts, found, strict=True):
        yield from ((one.text[entity.start : entity.end], entity.kind) for entity in some if entity.cued)


def _back(text: Aligned, entity: Entity) -> Entity:
    start, end = text.back(entity.start, entity.end)
    return entity._replace(start=start, end=end)


@dataclass
class _Names:
    """Gives every value its one placeholder."""

    tag: str
    known: dict[str, str] = field(default_factory=dict)
    numbers: Counter[Kind] = field(default_factory=Counter)

    def replace(self, text: str, entities: list[Entity]) -> str:
        pieces, place = [], 0
        for start, end, kind, _ in entities:
            pieces += [text[place:start], self._placeholder(text[start:end], kind)]
            place = end
        return "".join((*pieces, text[place:]))

    def _placeholder(self, value: str, kind: Kind) -> str:
        if value not in self.known:
            self.numbers[kind] += 1
            self.known[value] = written(kind, self.numbers[kind], self.tag)
        return self.known[value]
