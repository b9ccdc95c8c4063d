"""A gpu worker with the model call taken out: the rest of the station is the real one."""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from security.assembled import make_guardrail
from switchtower.messages import now_ms
from switchtower.models import Capability, Labels, ModelCard, OutputFormat, Provider, Sampling
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

CARD = ModelCard(name="echo", provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))


class Trace:
    """Notes when a generation begins and makes a token, on the host's monotonic clock."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", buffering=1) if path else None
        self._numbers = count()

    def begin(self) -> str:
        """A new generation's name."""
        name = f"{os.getpid()}.{next(self._numbers)}"
        self.note(name, "start")
        return name

    def note(self, name: str, what: str) -> None:
        if self._file:
            self._file.write(f"{time.monotonic()} {name} {what}\n")


class EchoEngine:
    """Says the prompt back in `tokens` pieces, one per `pause_s`; of labels, it chooses the last."""

    def __init__(self, tokens: int, pause_s: float, trace: Path | None = None) -> None:
        self._tokens = tokens
        self._pause_s = pause_s
        self._trace = Trace(trace)

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        if isinstance(output, Labels):
            return Generation(output.labels[-1], scores=dict.fromkeys(output.labels, 1 / len(output.labels)))
        name = self._trace.begin()
        for _ in range(self._tokens):
            stop()
            time.sleep(self._pause_s)
            self._trace.note(name, "token")
            on_token("echo ")
        return Generation(messages[-1]["content"][:100], completion_tokens=max(1, self._tokens))


def bodies(tokens: int, pause_s: float, trace: Path | None = None) -> Callable[[Settings, Runtime], dict[str, Body]]:
    """The generate station on an echo, announced like a model."""

    def make(config: Settings, runtime: Runtime) -> dict[str, Body]:
        def say() -> None:
            while True:
                announce(runtime.ledger.redis, [Announcement(card=CARD, worker=str(os.getpid()), seen=now_ms())])
                time.sleep(config.local.heartbeat_s)

        threading.Thread(target=say, daemon=True).start()
        return {
            GENERATE_LOCAL: local_generator(
                EchoEngine(tokens, pause_s, trace), make_guardrail(config.security, prompts=False)
            )
        }

    return make


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds per token")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--trace", type=Path, help="a file for when bodies start and make tokens")
    said = parser.parse_args()
    end_with_parent()
    kind = KINDS["gpu"]
    app = build(kind, settings(), bodies(said.tokens, said.pause, said.trace))
    serve(app, kind.name, kind.queues, kind.pool, said.concurrency, "WARNING")


if __name__ == "__main__":
    main()
