"""One way to find one kind of private value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import re2

from security.redaction.checks import Check
from security.redaction.entities import Entity, Kind

MAX_MEM = 32 << 20


def compiled(regex: str) -> re2._Regexp:
    """The RE2 pattern, ready to search; it is linear in the text whatever the pattern."""
    options = re2.Options()
    options.max_mem = MAX_MEM
    options.log_errors = False
    return re2.compile(regex, options=options)


def any_of(*phrases: str) -> str:
    """The pattern of any of the phrases, in any case."""
    return f"(?i:{'|'.join(phrases)})"


@dataclass(frozen=True)
class Pattern:
    """An RE2 pattern; its first group is the candidate where it has one, and `check` says which part of it counts.

    It is `cued` when only the words around a value give it away, so that the value alone is worth looking for too.
    """

    kind: Kind
    regex: str
    check: Check | None = None
    cued: bool = False

    def ready(self) -> Search:
        """The pattern, compiled."""
        return Search(self, compiled(self.regex))


@dataclass(frozen=True)
class Search:
    """A pattern that can be searched for; safe to share between threads."""

    pattern: Pattern
    regexp: re2._Regexp

    def find(self, text: str) -> Iterator[Entity]:
        """The values in a text, in time linear in it."""
        group = min(1, self.regexp.groups)
        for match in self.regexp.finditer(text):
            if found := self._entity(text, *match.span(group)):
                yield found

    def _entity(self, text: str, start: int, end: int) -> Entity | None:
        check = self.pattern.check
        stretch = check(text[start:end]) if check else (0, end - start)
        if stretch is None:
            return None
        return Entity(start + stretch[0], start + stretch[1], self.pattern.kind, self.pattern.cued)
