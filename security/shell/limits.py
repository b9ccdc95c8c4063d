"""How much of a command is read before the answer is that nobody can tell."""

from __future__ import annotations

MAX_CHARS = 16_384
"""Characters of a whole command; tree-sitter recovers from errors in quadratic time, at this length within 0.5 s."""
MAX_STEPS = 10_000
"""Syntax nodes visited and commands judged, all scripts within scripts together."""
MAX_DEPTH = 64
"""Syntax nodes within one another, with scripts within scripts; each costs a few frames of Python's stack."""
MAX_WORDS = 256
"""Words that one brace expansion or one split value may give."""
MAX_BRACES = 32
"""Opening braces of one word; each is looked at for every word that the others give."""
MAX_ROUNDS = 16
"""Values of a loop's variable that are tried one by one; what lies beyond is unknown."""


MAX_VALUE = 4 * MAX_CHARS
"""Characters of one value or output; values that are put together out of values grow without end."""
MAX_OPERATORS = 2_048
"""Pipes and `<` of a script; the parser's recovery is slowest on rows of them."""


class TooComplexError(Exception):
    """The command goes beyond the limits of the analysis."""


def bounded(value: str) -> str:
    """The value itself, or a TooComplexError where it is longer than MAX_VALUE."""
    if len(value) > MAX_VALUE:
        raise TooComplexError
    return value


class Budget:
    """Counts what one analysis spends."""

    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0

    def enter(self) -> None:
        """One more node, one level deeper; raises TooComplexError where that is too much."""
        self.steps += 1
        self.depth += 1
        if self.steps > MAX_STEPS or self.depth > MAX_DEPTH:
            raise TooComplexError

    def leave(self) -> None:
        """Back up one level."""
        self.depth -= 1
