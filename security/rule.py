"""One rule: a pattern, where it applies, how bad a hit is, and texts that prove it."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from security.matching import portable, refusal, searching
from switchtower.models import Action, Finding, Frozen, RiskLevel, Surface

VALUE = "value"
"""The named group whose entropy counts; the whole match where it has no part in it."""

_Examples = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Rule(Frozen):
    """One pattern, where it applies, how bad a hit is, and texts that prove it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    pattern: str = Field(min_length=1)
    applies_to: frozenset[Surface] = Field(min_length=1)
    risk: RiskLevel
    action: Action
    explanation: str = Field(min_length=10, max_length=500)
    matches: _Examples
    passes: _Examples
    min_entropy: float | None = Field(default=None, gt=0, le=8, description="bits per character of what matched")

    @field_validator("pattern")
    @classmethod
    def _is_read_alike(cls, pattern: str) -> str:
        if reason := refusal(pattern):
            raise ValueError(reason)
        return pattern

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.risk is RiskLevel.CRITICAL and self.action is not Action.BLOCK:
            raise fault("action", "a critical rule must block")
        if self.risk is RiskLevel.HIGH and self.action is Action.ALLOW:
            raise fault("action", "a high rule must ask or block")
        return self

    @cached_property
    def spelled(self) -> str:
        """The pattern in the spelling that all engines read alike."""
        return portable(self.pattern)

    @cached_property
    def finding(self) -> Finding:
        """What a verdict says when the rule matches."""
        return Finding(rule=self.name, risk=self.risk, action=self.action, explanation=self.explanation)

    def confirms(self, text: str) -> bool:
        """Whether a match of the pattern in this text is random enough to count."""
        return self.min_entropy is None or any(entropy(value) >= self.min_entropy for value in self._values(text))

    def _values(self, text: str) -> list[str]:
        compiled = searching(self.spelled)
        group = compiled.groupindex.get(VALUE, 0)
        return [found.group(group) or found.group() for found in compiled.finditer(text)]


def entropy(value: str) -> float:
    """Shannon's entropy of a text's characters, in bits per character: 0 for `aaaa`, 3 for `abcdefgh`."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())


def fault(field: str, message: str) -> PydanticCustomError:
    """What is wrong with one field of a rule."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})
