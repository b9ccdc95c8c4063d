"""What the providers share: an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """One answer; `finish_reason` is `stop`, `length` or whatever reason the request was stopped for."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    scores: dict[str, float] | None = None
