"""What a text says once invisible and compatibility characters are gone."""

from __future__ import annotations

import unicodedata
from itertools import chain

import re2

from security.normalize.finder import one_of

_INVISIBLE = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x061C, 0x061C),  # Arabic letter mark
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian selectors
    (0x200B, 0x200F),  # zero-width spaces and joiners, direction marks
    (0x202A, 0x202E),  # bidi embeddings and overrides
    (0x2060, 0x206F),  # word joiner, invisible operators, bidi isolates
    (0x3164, 0x3164),  # Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
    (0xFFF9, 0xFFFB),  # interlinear annotation
    (0x1D173, 0x1D17A),  # musical formatting
    (0xE0000, 0xE0FFF),  # tags and more variation selectors
)
INVISIBLE = frozenset(chain.from_iterable(range(first, last + 1) for first, last in _INVISIBLE))
_SINGLE_QUOTES = (*range(0x2018, 0x201C), 0x02BC, 0x2032, 0xFF07)
_DOUBLE_QUOTES = (*range(0x201C, 0x2020), 0x2033, 0xFF02)
_DASHES = (*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0xFF0D)
_CLEAN: dict[int, str | None] = {
    **dict.fromkeys(INVISIBLE, None),
    **dict.fromkeys((0x0085, 0x2028, 0x2029), "\n"),
    0x1680: " ",  # the one visible space that NFKC leaves alone
    **dict.fromkeys(_SINGLE_QUOTES, "'"),
    **dict.fromkeys(_DOUBLE_QUOTES, '"'),
    **dict.fromkeys(_DASHES, "-"),
}
_UNCLEAN = re2.compile(one_of(_CLEAN).encode())
_UNQUOTED = str.maketrans({"'": None, '"': None, "\\": None, "`": ";"})
_IFS = ("${IFS}", "$IFS", "${ifs}", "$ifs")


def clean(text: str) -> str:
    """The text in compatibility form, with plain quotes and dashes, without characters that nobody sees."""
    if text.isascii():
        return text
    # `translate` takes a millisecond for 16 KB, looking whether it is needed takes 20 microseconds.
    return unicodedata.normalize("NFKC", text.translate(_CLEAN) if _UNCLEAN.search(text.encode()) else text)


def fold(text: str) -> str:
    """The clean text without differences of case."""
    if text.isascii():
        return text.lower()
    # Folding can take a letter apart again, hence the second round.
    return clean(clean(text).casefold())


def unquote(command: str) -> str:
    """A command the way a shell reads words: quotes and escapes gone, `$IFS` a space, backquotes a break."""
    joined = command.replace("\\\r\n", "").replace("\\\n", "").replace("$'", "'").replace('$"', '"')
    for name in _IFS:
        joined = joined.replace(name, " ")
    return joined.translate(_UNQUOTED)
