"""What goes wrong in matching."""

from __future__ import annotations


class MatcherError(Exception):
    """The matching engine gave no trustworthy answer."""
