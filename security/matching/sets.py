"""RE2::Set as the matching engine: the one that runs everywhere, linear in the text whatever the pattern."""

from __future__ import annotations

from collections.abc import Sequence

import re2

from security.matching.errors import MatcherError

MAX_MEM = 64 << 20
"""Bytes that one set may take: for its program, and for the states that it makes while it searches."""

_ALWAYS = r"\A"


class SetMatcher:
    """Searches for all patterns at once; safe to share between threads."""

    engine = "re2"

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises MatcherError for patterns that do not fit into the memory."""
        self._set = re2.Set.SearchSet(_options())
        for pattern in patterns:
            self._set.Add(pattern)
        self._always = self._set.Add(_ALWAYS)
        try:
            self._set.Compile()
        except re2.error as error:
            raise MatcherError(f"RE2: {reason(error)}") from error

    def search(self, text: str) -> frozenset[int]:
        """The places of the patterns that match somewhere in the text."""
        hits = frozenset(self._set.Match(text.encode()) or ())
        # A set that runs out of memory reports no match at all; the pattern that always matches tells the two apart.
        if self._always not in hits:
            raise MatcherError("RE2 ran out of memory")
        return hits - {self._always}


def searching(pattern: str) -> re2._Regexp:
    """A single pattern that also says where it matches."""
    return re2.compile(pattern, options=_options())


def _options() -> re2.Options:
    chosen = re2.Options()
    chosen.max_mem = MAX_MEM
    chosen.log_errors = False
    return chosen


def reason(error: Exception) -> str:
    """What RE2 says was wrong."""
    said = error.args[0] if error.args else "unknown"
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
