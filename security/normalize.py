"""The views of a text that rules look at: as it came, cleaned of disguise, folded, unquoted.

Covered: compatibility forms (fullwidth, ligatures, styled letters), invisible and bidi characters, letter case,
odd spaces, and in commands simple shell quoting. Not covered: homoglyphs of other scripts, leetspeak, encodings.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

from switchtower.models import Surface

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
_NEWLINES = (0x0085, 0x2028, 0x2029)
_CLEAN: dict[int, str | None] = {
    **dict.fromkeys(INVISIBLE, None),
    **dict.fromkeys(_NEWLINES, "\n"),
    0x1680: " ",  # the one visible space that NFKC leaves alone
}
_UNQUOTED = str.maketrans({"'": None, '"': None, "\\": None, "`": ";"})


def clean(text: str) -> str:
    """The text in compatibility form, without characters that nobody sees."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text.translate(_CLEAN))


def fold(text: str) -> str:
    """The clean text without differences of case."""
    if text.isascii():
        return text.lower()
    # Folding can take a letter apart again, hence the second round.
    return clean(clean(text).casefold())


def unquote(folded: str) -> str:
    """A folded command the way a shell reads words: quotes and escapes gone, `$IFS` a space, backquotes a break."""
    joined = folded.replace("\\\r\n", "").replace("\\\n", "").replace("$'", "'").replace('$"', '"')
    return joined.replace("${ifs}", " ").replace("$ifs", " ").translate(_UNQUOTED)


def views(text: str, surface: Surface) -> tuple[str, ...]:
    """Every different reading of a text on this surface, the text itself first."""
    folded = fold(text)
    extra = (unquote(folded),) if surface is Surface.COMMAND else ()
    return tuple(dict.fromkeys((text, clean(text), folded, *extra)))
