"""What the providers share: a question and its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from switchtower.models import OutputFormat, Sampling


@dataclass(frozen=True)
class Generation:
    """One answer; `finish_reason` is `stop`, `length` or whatever reason the request was stopped for."""

    text: str
    prompt_tokens: int = 1
    completion_tokens: int = 1
    finish_reason: str = "stop"
    scores: dict[str, float] | None = None


class Answering(Protocol):
    """Whatever answers chats, here or on a server."""

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation: ...
