"""Sets of names, written as one text so that they read like the vocabulary that they are."""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())
