"""What each part of a job costs: one job after the other walked down the line inside this process, clocked.

The walk calls what the workers call, in their order, against a real broker; Celery's own work (its event loop,
pool, tracing, canvas) is what a real run of the line costs beyond that.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

from celery import Celery
from echo_worker import CARD, EchoEngine
from line import Leg, line_side, measure
from report import Row, finish, progress
from rig import Rig, rig

import tasks.generate
from router.pool import Pool
from security.assembled import make_guardrail
from security.halt import Halt
from switchtower.client import Client
from switchtower.envelope import admit, parse, unpack
from switchtower.jobs import State
from switchtower.messages import Envelope, Message, RoutingDecision, UserRequest
from switchtower.queues import GENERATE_LOCAL, QUEUE_OF, REVIEW, ROUTE, SCREEN
from switchtower.registry import Announcement
from tasks.generate import local_generator
from tasks.line import LINE, identity
from tasks.review import reviewer
from tasks.route import router
from tasks.screen import screener
from tasks.work import Work
from workers.runtime import Runtime

_PROMPT = "How do I change a light bulb?"


class Clock:
    """Charges time to the innermost part that is running, so that no part is counted twice."""

    def __init__(self) -> None:
        self.wall: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._running: list[str] = []
        self._at = (0, 0)

    def forget(self) -> None:
        """Start counting anew."""
        for counted in (self.wall, self.cpu, self.calls):
            counted.clear()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, charged to a part."""

        def clocked(*args: Any, **options: Any) -> Any:
            self._turn()
            self._running.append(name)
            self.calls[name] += 1
            try:
                return call(*args, **options)
            finally:
                self._turn()
                self._running.pop()

        return clocked

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Charge every call of this attribute to a part."""
        setattr(owner, method, self.timed(name, getattr(owner, method)))

    def _turn(self) -> None:
        now = (time.perf_counter_ns(), time.process_time_ns())
        if self._running:
            self.wall[self._running[-1]] += now[0] - self._at[0]
            self.cpu[self._running[-1]] += now[1] - self._at[1]
        self._at = now


class Walk:
    """The line in one process."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock, self.app = client, clock, client.app
        guardrail = make_guardrail(client.settings.security)
        clock.watch(guardrail, "judge", "guardrail judges")
        pool = Pool(lambda: [Announcement(card=CARD, worker="1", seen=time.time_ns() // 1_000_000)], 60, 60)
        self._bodies = {
            SCREEN: screener(guardrail),
            ROUTE: router(pool, "local_first"),
            GENERATE_LOCAL: local_generator(EchoEngine(0, 0), guardrail),
            REVIEW: reviewer(guardrail),
        }
        self._runtimes = {wire: self._runtime(self.app, wire) for wire in LINE}
        self._parse, self._admit = clock.timed("parse the envelope", parse), clock.timed("verify the seal", admit)
        self._unpack = clock.timed("pydantic reads the message", unpack)
        self._seal = clock.timed("write and sign", Work.seal)
        self._body = clock.timed("bodies, without the judging", lambda wire, work: self._bodies[wire](work))
        self._publish = clock.timed("publish", self.app.send_task)
        self._receive = clock.timed("receive", self._next)
        self._ack = clock.timed("acknowledge", lambda message: message.ack())
        tasks.generate.admit, tasks.generate.unpack = self._admit, self._unpack  # type: ignore[attr-defined]
        self._connection = self.app.connection_for_read()
        self._queues = {name: self._connection.SimpleQueue(name) for name in set(QUEUE_OF.values())}

    def _runtime(self, app: Celery, wire: str) -> Runtime:
        open_line = Halt(stale_s=3600)
        open_line.saw(is_open=True)
        made = Runtime(app, self._client.settings, LINE[wire].seals_as, open_line)
        for method in ("claim", "advance", "emit", "finish"):
            self._clock.watch(made.ledger, method, f"ledger: {method}")
        return made

    def _next(self, wire: str) -> Any:
        return self._queues[QUEUE_OF[wire]].get(timeout=5)

    def end(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def job(self) -> None:
        """One job from submission to result."""
        submission = self._clock.timed("client: write and sign", self._client._submission)(UserRequest(prompt=_PROMPT))
        self._clock.timed("ledger: submit", self._client.ledger.submit)(submission)
        sealed: Envelope | None = submission.envelope
        while sealed is not None:
            sealed = self._station(sealed)
        self._clock.timed("client: read the result", self._client.result)(submission.request.job)

    def _station(self, sealed: Envelope) -> Envelope | None:
        body, shown = [sealed.model_dump()], {"argsrepr": "(<sealed>,)", "kwargsrepr": "{}"}
        self._publish(sealed.wire, args=body, task_id=sealed.id, ignore_result=True, **shown)
        message = self._receive(sealed.wire)
        raw, station, runtime = message.payload[0][0], LINE[sealed.wire], self._runtimes[sealed.wire]
        envelope = self._parse(raw, 1 << 20)
        self._admit(envelope, runtime.ring, station.wire, envelope.id, station.admits)
        envelope = self._parse(raw, 1 << 20)
        asked = self._unpack(envelope, station.takes)
        runtime.claim(envelope, "walk", asked if station.wire == SCREEN else None, "")
        work = Work(asked, envelope, station, "walk", runtime)
        following = self._hand_on(work, self._body(station.wire, work))
        self._ack(message)
        return following

    def _hand_on(self, work: Work[Any], outcome: Message) -> Envelope | None:
        wire = GENERATE_LOCAL if isinstance(outcome, RoutingDecision) else work.station.next
        assert wire is not None
        sealed = self._seal(work, outcome, wire, identity(work.job, wire))
        ledger = work.runtime.ledger
        if wire in LINE:
            ledger.advance(work.job, "walk", sealed, **work.facts)
            return sealed  # type: ignore[no-any-return]
        ledger.finish(work.job, State.DONE, "walk", result=sealed.model_dump_json())
        return None


def profile(batch: int, target: str | None) -> int:
    """Walk some jobs, run a batch through real workers, and print where the time goes."""
    count, leg = 300, Leg()
    with rig() as bench, progress() as bar:
        bar.add_task("walking jobs down the line", total=None)
        clock = walked(bench, count)
        with line_side(bench) as side:
            measure(side, leg, 50, batch, lambda: None)
    return finish(
        "what a job costs: µs by the clock (µs of this process's CPU)",
        rows(clock, leg, count),
        {"calls": clock.calls, "cpu_ns": clock.cpu},
        target,
    )


def walked(bench: Rig, count: int) -> Clock:
    """The clock after so many jobs; the first twenty warm up and are not counted."""
    clock = Clock()
    with Client(bench.settings) as client:
        walk = Walk(client, clock)
        for number in range(count + 20):
            if number == 20:
                clock.forget()
            walk.job()
        walk.end()
    return clock


def rows(clock: Clock, leg: Leg, count: int) -> list[Row]:
    """One row per part, dearest first, then what remains for Celery and the broker."""
    parts = [
        Row(f"{name} (x{clock.calls[name] / count:.0f})", _micros(wall, clock.cpu[name], count))
        for name, wall in clock.wall.most_common()
    ]
    known, whole = clock.cpu.total() / count / 1000, median(leg.costs) * 1e6
    return [
        *parts,
        Row("all of these", _micros(clock.wall.total(), clock.cpu.total(), count)),
        Row("a real run: CPU of workers, broker and client", f"({whole:.0f})"),
        Row("so Celery's own, and the broker's", f"({whole - known:.0f})"),
    ]


def _micros(wall: int, cpu: int, count: int) -> str:
    return f"{wall / count / 1000:.0f} ({cpu / count / 1000:.0f})"
