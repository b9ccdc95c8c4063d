"""The only file that knows the matching engine: RE2, linear in the text whatever the pattern."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import re2

MAX_MEM = 64 << 20
_ALWAYS = r"\A"


class MatcherError(Exception):
    """The matching engine gave no trustworthy answer."""


def refusal(pattern: str) -> str | None:
    """Why a pattern may not stand in a rule, or None when it may."""
    try:
        compiled = re2.compile(pattern, options=_options())
    except (re2.error, UnicodeEncodeError) as error:
        return f"the pattern is not RE2 syntax: {_reason(error)}"
    return "the pattern matches the empty text, so it would match every text" if compiled.search("") else None


class Matcher:
    """Many patterns searched in one pass; safe to share between threads."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._set = re2.Set.SearchSet(_options())
        for pattern in patterns:
            self._set.Add(pattern)
        self._always = self._set.Add(_ALWAYS)
        try:
            self._set.Compile()
        except re2.error as error:
            raise MatcherError(_reason(error)) from error

    def search(self, texts: Iterable[str]) -> frozenset[int]:
        """The places of all patterns that match at least one of the texts."""
        return frozenset().union(*(self._search(text) for text in texts))

    def _search(self, text: str) -> frozenset[int]:
        hits = frozenset(self._set.Match(text) or ())
        # A set that runs out of memory reports no match at all; the pattern that always matches tells the two apart.
        if self._always not in hits:
            raise MatcherError("the matcher ran out of memory")
        return hits - {self._always}


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = MAX_MEM
    options.log_errors = False
    return options


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "unknown"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
