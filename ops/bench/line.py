"""The line against a bare Celery chain: latency of one job at a time, throughput of a batch.

Both run on one broker with the same worker processes, pools and concurrency, one after the other, in
turns. The line does all it does in production: screen, route, generate (no tokens), review, with seals,
ledger, events and gates. The bare chain has as many tasks, and they do nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from celery import exceptions
from plain import create_plain, plain_chain, plain_worker
from report import Row, console, finish, parser, progress
from rig import KINDS, Rig, broker_pid, cpu_seconds, rig

from switchtower.client import Client
from switchtower.messages import UserRequest
from workers.supervisor import Supervisor

LATENCY_AIM, THROUGHPUT_AIM = 1.5, 0.6
_PROMPT = "How do I change a light bulb?"
_TIMEOUT_S = 120
_PATIENCE_S = 5


@dataclass
class Leg:
    """One side's figures: seconds per job; jobs per second and CPU seconds per job of each batch."""

    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    @property
    def p50(self) -> float:
        return median(self.latencies) * 1000

    @property
    def p99(self) -> float:
        return quantiles(self.latencies, n=100)[98] * 1000

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def cost(self) -> float:
        return median(self.costs) * 1000


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: run one job to its end, or many."""

    one: Callable[[], Any]
    many: Callable[[int], Any]
    processes: tuple[int, ...]


@contextmanager
def line_side(bench: Rig) -> Iterator[Side]:
    """The line's workers and client."""

    def many(count: int) -> None:
        for job in client.submit_many(UserRequest(prompt=_PROMPT) for _ in range(count)):
            client.result(job, _TIMEOUT_S)

    with bench.line() as crew, Client(bench.settings) as client:
        yield Side(lambda: client.result(client.submit(_PROMPT), _TIMEOUT_S), many, everyone(bench, crew))


@contextmanager
def plain_side(bench: Rig) -> Iterator[Side]:
    """The same number of plain workers, and a stock client."""
    app = create_plain(bench.settings.broker.url)

    def many(count: int) -> None:
        for result in [plain_chain(app).apply_async() for _ in range(count)]:
            collect(result)

    with bench.workers(**{f"plain-{kind}": plain_worker(kind) for kind in KINDS}) as crew:
        yield Side(lambda: collect(plain_chain(app).apply_async()), many, everyone(bench, crew))
    app.close()


def collect(result: Any) -> Any:
    """Wait for a plain result, again where the client missed its publication: it is rare, but it hangs for ever."""
    for _ in range(_TIMEOUT_S // _PATIENCE_S):
        with suppress(exceptions.TimeoutError):
            return result.get(timeout=_PATIENCE_S)
    raise TimeoutError(f"no result of {result.id} within {_TIMEOUT_S} s")


def everyone(bench: Rig, crew: Supervisor) -> tuple[int, ...]:
    """The processes that a job costs time: workers, broker, and the client, which is this one."""
    return (*(process.pid for process in crew.processes.values()), broker_pid(bench.settings), os.getpid())


def measure(side: Side, leg: Leg, singles: int, batch: int, step: Callable[[], None]) -> None:
    """One turn of one side, after a warm-up that is not counted."""
    side.many(100)
    for _ in range(singles):
        started = time.perf_counter()
        side.one()
        leg.latencies.append(time.perf_counter() - started)
        step()
    started, computed = time.perf_counter(), cpu_seconds(*side.processes)
    side.many(batch)
    leg.rates.append(batch / (time.perf_counter() - started))
    leg.costs.append((cpu_seconds(*side.processes) - computed) / batch)
    step()


def compare(bench: Rig, turns: int, singles: int, batch: int) -> tuple[Leg, Leg]:
    """A B A B …: the line's figures and the bare chain's."""
    ours, bare = Leg(), Leg()
    with progress() as bar:
        task = bar.add_task("line and bare chain in turns", total=turns * 2 * (singles + 1))
        for _ in range(turns):
            for make, leg in ((plain_side, bare), (line_side, ours)):
                with make(bench) as side:
                    measure(side, leg, singles, batch, lambda: bar.advance(task))
    return ours, bare


def rows(ours: Leg, bare: Leg) -> list[Row]:
    """The comparison as a table."""
    latency, throughput = ours.p50 / bare.p50, ours.rate / bare.rate
    return [
        Row("latency p50, line", f"{ours.p50:.1f} ms"),
        Row("latency p50, bare chain", f"{bare.p50:.1f} ms"),
        Row("latency p50, ratio", f"{latency:.2f} x", f"≤ {LATENCY_AIM} x", latency <= LATENCY_AIM),
        Row("latency p99, line", f"{ours.p99:.1f} ms"),
        Row("latency p99, bare chain", f"{bare.p99:.1f} ms"),
        Row("throughput, line", f"{ours.rate:.0f} jobs/s"),
        Row("throughput, bare chain", f"{bare.rate:.0f} chains/s"),
        Row("throughput, ratio", f"{throughput:.2f} x", f"≥ {THROUGHPUT_AIM} x", throughput >= THROUGHPUT_AIM),
        Row("CPU per job, line", f"{ours.cost:.2f} ms"),
        Row("CPU per job, bare chain", f"{bare.cost:.2f} ms"),
        Row("CPU per job, ratio", f"{ours.cost / bare.cost:.2f} x"),
    ]


def main() -> int:
    """Run the bench."""
    options = parser(__doc__)
    options.add_argument("--jobs", type=int, default=2000, help="jobs in a batch")
    options.add_argument("--singles", type=int, default=200, help="jobs one at a time, per turn")
    options.add_argument("--turns", type=int, default=3, help="how often each side has its turn")
    options.add_argument("--profile", action="store_true", help="say what each part of a job costs instead")
    said = options.parse_args()
    try:
        if said.profile:
            from parts import profile

            return profile(said.jobs, said.json)
        with rig() as bench:
            ours, bare = compare(bench, said.turns, said.singles, said.jobs)
    except KeyboardInterrupt:
        console.print("[yellow]stopped; nothing was left running[/]")
        return 130
    figures = {"line": ours, "bare": bare}
    return finish(f"the line and a bare Celery chain, {said.turns} turns", rows(ours, bare), figures, said.json)


if __name__ == "__main__":
    sys.exit(main())
