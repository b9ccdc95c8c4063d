"""What stands beside the rules in a guardrail: something that reads a text by its meaning or structure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from switchtower.models import Finding, Surface


class Detector(Protocol):
    """Looks at one text and reports findings; whatever it raises blocks the text."""

    @property
    def version(self) -> str:
        """Names what the findings depend on: weights, tables, code; part of every verdict's pack hash."""

    def findings(self, text: str, surface: Surface) -> Iterable[Finding]:
        """What is wrong with the text on this surface; nothing where the detector does not apply."""
