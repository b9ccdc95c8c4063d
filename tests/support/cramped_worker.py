"""A gpu worker with two models that say back what they are asked; the one that is liked better lacks memory.

Run as `python -m tests.support.cramped_worker`; with `--alone` there is no second model, and `--least LENGTH` lets
the cramped one answer prompts of fewer characters.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from security.assembled import make_guardrail
from switchtower.errors import ModelOutOfMemory
from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, OutputFormat, Provider, Sampling
from switchtower.queues import GENERATE_LOCAL
from switchtower.registry import Announcement, announce
from switchtower.settings import Settings, settings
from tasks.generate import local_generator
from tasks.kinds import KINDS, build
from tasks.station import Body
from workers.boot import serve
from workers.parent import end_with_parent
from workers.providers.base import Generation
from workers.repeat import repeat
from workers.runtime import Runtime

CRAMPED, ROOMY = "cramped", "roomy"


@dataclass(frozen=True)
class Echo:
    """Says prompts back; under one adapter's name, only those that are short."""

    least: int

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """Say a piece, then find out that there is no memory for the rest."""
        text = messages[-1]["content"]
        on_token("Well, ")
        if adapter == CRAMPED and len(text) >= self.least:
            raise ModelOutOfMemory
        on_token(text)
        return Generation(text)


def card(name: str, cost: float) -> ModelCard:
    able = frozenset({Capability.GENERAL})
    return ModelCard(name=name, provider=Provider.LOCAL, capabilities=able, adapter=name, cost_per_token=cost)


def bodies(alone: bool, least: int) -> Callable[[Settings, Runtime], dict[str, Body]]:
    """The generate station on the echo, announced like models."""
    cards = [card(CRAMPED, 0), card(ROOMY, 1)][: 1 if alone else 2]

    def make(config: Settings, runtime: Runtime) -> dict[str, Body]:
        def say() -> None:
            seen, worker = now_ms(), str(os.getpid())
            announce(runtime.ledger.redis, [Announcement(card=one, worker=worker, seen=seen) for one in cards])

        say()
        repeat("heartbeat", config.local.heartbeat_s, say)
        return {GENERATE_LOCAL: local_generator(Echo(least), make_guardrail(config.security, prompts=False))}

    return make


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--least", type=int, default=0)
    said = parser.parse_args()
    end_with_parent()
    kind, make = KINDS["gpu"], bodies(said.alone, said.least)
    serve(build(kind, settings(), make), kind.name, kind.queues, kind.pool, kind.places(settings()), "WARNING")


if __name__ == "__main__":
    main()
