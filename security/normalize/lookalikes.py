"""Letters that look like Latin ones and are not, in words that pretend to be Latin.

Letters of other scripts (`lookalikes.toml`) change in words that also hold Latin letters, so that Russian, Greek and
the others stay as they are. Styled Latin letters and marks on letters always change.
"""

from __future__ import annotations

import tomllib
import unicodedata
from pathlib import Path

import re2

from security.normalize.finder import one_of

_TABLES = tomllib.loads((Path(__file__).parent / "lookalikes.toml").read_text(encoding="utf-8"))
_ALPHABETS = (0x1F150, 0x1F170, 0x1F1E6)
"""Where circled, squared and regional capitals begin that have no compatibility form."""

_TO_LATIN = {ord(other): latin for latin, others in _TABLES["foreign"].items() for other in others}
_UNSTYLED = {ord(other): latin for latin, others in _TABLES["styled"].items() for other in others} | {
    first + place: chr(ord("a") + place) for first in _ALPHABETS for place in range(26)
}
_MARKS = (*range(0x300, 0x370), 0x488, 0x489, *range(0x1AB0, 0x1B00), *range(0x20D0, 0x2100))
_UNMARKED = {
    code: base
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00))
    if (base := unicodedata.normalize("NFD", chr(code))[0]).isascii() and base.isalpha()
}
_BARE: dict[int, str | None] = {**dict.fromkeys(_MARKS), **_UNMARKED, **_UNSTYLED}

_OTHER, _OWN = one_of(_TO_LATIN), "[A-Za-z]"
_MIXED = f"{_OWN}{_OTHER}|{_OTHER}{_OWN}"
HINTS = (_MIXED, one_of(_BARE))
"""What any text matches that `latin` changes, and no other."""

_WORD = re2.compile(f"(?:{_OWN}|{_OTHER})*(?:{_MIXED})(?:{_OWN}|{_OTHER})*")


def latin(text: str) -> str:
    """A clean text with letters that only look Latin, or carry marks, replaced by the Latin ones."""
    return str(_WORD.sub(lambda found: found.group().translate(_TO_LATIN), text.translate(_BARE)))
