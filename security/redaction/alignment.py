"""A reading of a text in plain characters that knows where each of them came from.

Fullwidth digits, styled letters, odd spaces, hyphens and apostrophes become plain ones; what nobody sees (zero-width
and bidi characters, soft hyphens) is left out.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_MARKS = dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d", "-") | dict.fromkeys("\u2018\u2019\u02bc", "'")


@dataclass(frozen=True)
class Aligned:
    """A plain reading; `places` has one entry per character and one for the end, or is None where nothing moved."""

    text: str
    places: tuple[int, ...] | None = None

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of the reading, not empty, stands in the text itself."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1


def aligned(text: str) -> Aligned:
    """The plain reading of a text, in time linear in it."""
    if text.isascii():
        return Aligned(text)
    pieces = [_plain(letter) for letter in text]
    places = [place for place, piece in enumerate(pieces) for _ in piece]
    return Aligned("".join(pieces), (*places, len(text)))


def encodable(text: str) -> str:
    """The text with every character in its place, and none that UTF-8, and so RE2, does not have."""
    return text if text.isascii() else text.encode(errors="replace").decode()


@lru_cache(maxsize=4096)
def _plain(letter: str) -> str:
    if letter.isascii():
        return letter
    if unicodedata.category(letter) == "Cf":
        return ""
    if "\ud800" <= letter <= "\udfff":
        return "\ufffd"  # half of a pair; RE2 reads UTF-8, which has no such thing
    folded = _MARKS.get(letter) or unicodedata.normalize("NFKC", letter)
    return folded if len(folded) == 1 else letter
