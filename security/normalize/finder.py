"""Finding and replacing stretches of a text, in time linear in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import re2


def one_of(codes: Iterable[int]) -> str:
    """The character class of these code points."""
    return "[" + "".join(f"\\x{{{code:X}}}" for code in codes) + "]"


def finder(pattern: str) -> re2._Regexp:
    """A pattern to look for in UTF-8; it names ASCII only, and so never ends inside a character."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return re2.compile(pattern.encode(), options=options)


def replaced(found_by: re2._Regexp, text: str, change: Callable[[bytes], bytes]) -> str:
    """The text with every stretch that the finder finds changed."""
    return str(found_by.sub(lambda found: change(found.group()), text.encode()).decode(errors="replace"))
