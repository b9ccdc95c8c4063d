"""Brace expansion: `{a,b}` and `{1..3}` (Bash reference manual, 3.5.1)."""

from __future__ import annotations

import re
from itertools import pairwise

from security.shell.limits import MAX_BRACES, MAX_WORDS, TooComplexError

_RANGE = re.compile(r"(-?\d{1,6})\.\.(-?\d{1,6})(?:\.\.(-?\d{1,6}))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d{1,6}))?")


def expand(word: str) -> list[str]:
    """All words that one with braces stands for; TooComplexError where they are more than MAX_WORDS."""
    if word.count("{") > MAX_BRACES:
        raise TooComplexError
    words, done = [word], []
    while words:
        first = words.pop()
        parts = _expand_once(first)
        if parts is None:
            done.append(first)
        else:
            words.extend(reversed(parts))
        if len(words) + len(done) > MAX_WORDS:
            raise TooComplexError
    return done


def _expand_once(word: str) -> list[str] | None:
    start = word.find("{")
    while start >= 0:
        found = _alternatives(word, start)
        if found is not None:
            options, end = found
            return [word[:start] + option + word[end:] for option in options]
        start = word.find("{", start + 1)
    return None


def _alternatives(word: str, start: int) -> tuple[list[str], int] | None:
    depth, cuts = 0, [start]
    for place in range(start, len(word)):
        char = word[place]
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 1:
            cuts.append(place)
        if depth == 0:
            cuts.append(place)
            break
    else:
        return None
    options = [word[a + 1 : b] for a, b in pairwise(cuts)]
    if len(options) == 1:
        options = _range(options[0])
    return (options, cuts[-1] + 1) if options else None


def _range(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    if not found:
        return []
    number = found[1] is not None
    first, last = (int(found[1]), int(found[2])) if number else (ord(found[4]), ord(found[5]))
    step = abs(int(found[3] or found[6] or 1)) or 1
    steps = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    # A long run of numbers is data; its ends stand for it.
    codes = steps if len(steps) <= MAX_WORDS else (first, last)
    return [str(code) if number else chr(code) for code in codes]
