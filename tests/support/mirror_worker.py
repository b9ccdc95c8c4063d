"""A gpu worker whose model says back what it was asked, a few characters at a time, and writes it down.

Run as `python -m tests.support.mirror_worker --seen PATH`.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from security.assembled import make_guardrail
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
from workers.runtime import Runtime

CARD = ModelCard(name="mirror", provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))
PLACES = 4
PIECE = 3
"""Characters per piece, so that every placeholder comes in several."""


@dataclass(frozen=True)
class Mirror:
    """Says the last message back; `seen` gets all of them, one JSON line per conversation."""

    seen: Path

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """Say it in pieces, and return it whole."""
        with self.seen.open("a") as file:
            file.write(json.dumps(messages) + "\n")
        text = messages[-1]["content"]
        for start in range(0, len(text), PIECE):
            stop()
            on_token(text[start : start + PIECE])
        return Generation(text)


def bodies(seen: Path) -> Callable[[Settings, Runtime], dict[str, Body]]:
    """The generate station on a mirror, announced like a model."""

    def make(config: Settings, runtime: Runtime) -> dict[str, Body]:
        def say() -> None:
            pause = threading.Event()
            while True:
                announce(runtime.ledger.redis, [Announcement(card=CARD, worker=str(os.getpid()), seen=now_ms())])
                pause.wait(config.local.heartbeat_s)

        threading.Thread(target=say, daemon=True).start()
        return {GENERATE_LOCAL: local_generator(Mirror(seen), make_guardrail(config.security, prompts=False))}

    return make


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seen", type=Path, required=True)
    said = parser.parse_args()
    end_with_parent()
    kind = KINDS["gpu"]
    serve(build(kind, settings(), bodies(said.seen)), kind.name, kind.queues, kind.pool, PLACES, "WARNING")


if __name__ == "__main__":
    main()
