"""Everything private that can be found in a text without a model."""

from __future__ import annotations

from functools import cache

from security.redaction.addresses import ADDRESSES
from security.redaction.contacts import CONTACTS
from security.redaction.credentials import Credentials
from security.redaction.documents import DOCUMENTS
from security.redaction.entities import Entity
from security.redaction.names import NAMES
from security.redaction.numbers import NUMBERS
from security.redaction.pattern import Search

PATTERNS = (*CONTACTS, *NUMBERS, *DOCUMENTS, *NAMES, *ADDRESSES)


class Finder:
    """Finds private values by patterns, checksums and the words around them; safe to share between threads."""

    def __init__(self) -> None:
        self._all: tuple[Credentials | Search, ...] = (Credentials(), *(pattern.ready() for pattern in PATTERNS))

    def find(self, text: str) -> list[Entity]:
        """The private values of a plain text, some of them more than once, in time linear in it."""
        return [one for search in self._all for one in search.find(text)]


@cache
def finder() -> Finder:
    """The process's finder, made when it is first needed: it takes a moment."""
    return Finder()
