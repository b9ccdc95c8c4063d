"""One lockdown after the other on a busy line, and what still moved after each."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis
from rig import Rig, broker_pid

from security.lockdown import engage
from switchtower.client import Client
from switchtower.jobs import DUE, events_key
from switchtower.messages import UserRequest

_WINDOW = 60
_LOCKED_S = 0.6
_STALE_S = 0.25
_FROZEN_S = 1.5


class Feeder(threading.Thread):
    """Keeps the line busy until it is told to stop, and remembers what it handed in."""

    def __init__(self, client: Client) -> None:
        super().__init__(name="feeder", daemon=True)
        self._client = client
        self._ended = threading.Event()
        self.jobs: list[str] = []

    def run(self) -> None:
        while not self._ended.wait(0.02):
            if self._client.ledger.redis.zcard(DUE) < _WINDOW:
                self.jobs += self._client.submit_many(UserRequest(prompt="say something") for _ in range(20))

    def end(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def feeding(client: Client) -> Iterator[Feeder]:
    """A busy line for as long as the block runs."""
    feeder = Feeder(client)
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.end()


class Raise:
    """Stands in for the connection that `engage` writes through: the flag and the server's clock in one transaction."""

    def __init__(self, redis: Redis, *, push: bool) -> None:
        self._redis = redis
        self._push = push
        self.written_ms = 0

    def eval(self, script: str, *args: Any) -> int:
        quiet = re.sub(r"redis\.call\('PUBLISH'[^)]*\)", "", script)
        if quiet == script:
            raise RuntimeError("the raise has no PUBLISH that could be taken away; look at this bench again")
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.eval(script if self._push else quiet, *args)
            pipe.time()
            epoch, (seconds, micros) = pipe.execute()
        self.written_ms = seconds * 1000 + micros // 1000
        return int(epoch)


@dataclass
class Rounds:
    """What moved under lock, one entry per round."""

    starts: list[int] = field(default_factory=list)
    tokens_out: list[int] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    tokens_made: list[int] = field(default_factory=list)
    halt_ms: list[float] = field(default_factory=list)

    def said(self, name: str) -> str:
        """The worst and the median round."""
        found = getattr(self, name)
        return f"worst {max(found):.0f}, median {median(found):.0f}" if found else "nothing to see"

    @property
    def p99_ms(self) -> float:
        """From raise to halt, the time that 99 of 100 hand-backs keep to; the worst one where there are few."""
        ordered = sorted(self.halt_ms)
        return ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))] if ordered else 0.0


class Trial:
    """The rounds of one kind on one busy line."""

    def __init__(self, bench: Rig, trace: Path) -> None:
        self._redis = bench.redis
        self._trace = trace
        self._release = bench.release
        self._broker = broker_pid(bench.settings)

    def lock(self, found: Rounds, *, push: bool) -> None:
        """Raise, wait, see what moved, release."""
        time.sleep(random.uniform(0.3, 0.6))
        before = self._unfinished()
        writer = Raise(self._redis, push=push)
        engage(writer, "bench", "bench")  # type: ignore[arg-type]
        acknowledged = time.monotonic()
        time.sleep(_LOCKED_S)
        seen = self._events(before | self._unfinished(), writer.written_ms)
        notes = self._notes(acknowledged, time.monotonic())
        self._release()
        found.starts.append(sum(event.get("state") == "running" for _, event in seen))
        found.tokens_out.append(sum(event["kind"] == "token" for _, event in seen))
        found.bodies.append(sum(what == "start" for _, _, what in notes))
        self._stops(found, notes)
        found.halt_ms += [at - writer.written_ms for at, event in seen if event.get("handed_back") == "LockdownActive"]

    def freeze(self, found: Rounds) -> None:
        """Stop the broker's process, wait, let it go on; count what began when the flag was unreadable for too long."""
        time.sleep(random.uniform(0.5, 0.9))
        os.kill(self._broker, signal.SIGSTOP)
        frozen = time.monotonic()
        time.sleep(_FROZEN_S)
        thawed = time.monotonic()
        os.kill(self._broker, signal.SIGCONT)
        notes = self._notes(frozen + _STALE_S, thawed)
        found.bodies.append(sum(what == "start" for _, _, what in notes))
        self._stops(found, notes)
        found.halt_ms.append(1000 * max((at - frozen for at, _, _ in self._notes(frozen, thawed)), default=0))

    @staticmethod
    def _stops(found: Rounds, notes: list[tuple[float, str, str]]) -> None:
        made = Counter(name for _, name, what in notes if what == "token")
        found.tokens_made.append(max(made.values(), default=0))

    def _unfinished(self) -> set[str]:
        return {str(job) for job in self._redis.zrange(DUE, 0, -1)}

    def _events(self, jobs: set[str], after_ms: int) -> list[tuple[int, dict[str, Any]]]:
        """What the jobs' streams say of the time after the flag was written, to the millisecond."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.xrange(events_key(job), min=f"{after_ms + 1}-0")
            found = [entry for entries in pipe.execute() for entry in entries]
        return [(int(mark.split("-")[0]), json.loads(fields["e"])) for mark, fields in found]

    def _notes(self, after: float, until: float) -> list[tuple[float, str, str]]:
        lines = (line.split() for line in self._trace.read_text().splitlines()[-4000:])
        noted = ((float(at), name, what) for at, name, what in lines)
        return [one for one in noted if after < one[0] <= until]
