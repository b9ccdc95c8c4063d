"""The one place that chooses a matching engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Protocol

import re2

from security.matching.errors import MatcherError
from security.matching.sets import SetMatcher, reason, searching
from security.matching.spelling import SpellingError, portable


class Matcher(Protocol):
    """Finds which of its patterns match; every engine finds the same ones."""

    @property
    def engine(self) -> str:
        """The name of the engine."""

    def search(self, text: str) -> frozenset[int]:
        """The places of the patterns that match somewhere in the text; raises MatcherError where it cannot tell."""


@cache
def engines() -> dict[str, Callable[[Sequence[str]], Matcher]]:
    """The engines that are installed, the fastest first."""
    try:
        from security.matching.scanner import Scanner
    except ImportError:  # there is no wheel of Hyperscan for this processor
        return {"re2": SetMatcher}
    return {"hyperscan": Scanner, "re2": SetMatcher}


@lru_cache(maxsize=8)
def matcher(patterns: tuple[str, ...], engine: str | None = None) -> Matcher:
    """A matcher for patterns in their portable spelling; the same ones are compiled once in a process.

    Raises MatcherError where the patterns do not compile.
    """
    return engines()[engine or next(iter(engines()))](patterns)


def refusal(pattern: str) -> str | None:
    """Why a pattern may not stand in a rule, or None when it may as far as RE2 can tell.

    What Hyperscan says is known once all rules are compiled together, which takes it much less time.
    """
    try:
        compiled = searching(pattern)
        SetMatcher((portable(pattern),))
    except (SpellingError, MatcherError) as error:
        return str(error)
    except (re2.error, UnicodeEncodeError) as error:
        return f"the pattern is not RE2 syntax: {reason(error)}"
    return "the pattern matches the empty text, so it would match every text" if compiled.search("") else None
