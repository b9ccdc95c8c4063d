"""The lockdown on a busy line: what still starts, speaks or spins once it is raised, and whether all goes on after.

Three kinds of worker are busy: guardrail on threads, router on prefork, and a generator that says short tokens.
Starts are judged by the `running` events in the jobs' streams against the server's own clock at the flag's write,
and, more strictly, by the generator's own notes of when a body began and made a token.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from endings import Endings, count_endings
from held import Held, hold_and_lock
from report import Row, console, finish, parser, progress
from rig import SHORT, Rig, echo, rig, wait_for
from rounds import Rounds, Trial, feeding

from switchtower.client import Client
from switchtower.jobs import DUE

_TOKENS, _PAUSE_S = 20, 0.01
_BUSY_PERCENT = 5.0
_MEDIAN_MS, _P99_MS = 50, 150


@dataclass
class Found:
    """Everything that the bench saw."""

    pushed: Rounds
    polled: Rounds
    frozen: Rounds
    held: Held
    endings: Endings
    jobs: int


def run(bench: Rig, count: int, step: Callable[[], None]) -> Found:
    """All checks on one line."""
    trace = bench.settings.home / "trace"
    pushed, polled, frozen = Rounds(), Rounds(), Rounds()
    prefork = [sys.executable, "-m", "switchtower", "worker", "router", "--pool", "prefork", "--concurrency", "2"]
    gpu = [*echo(_TOKENS, _PAUSE_S), f"--trace={trace}"]
    with bench.line(gpu=gpu, router=prefork) as crew, Client(bench.settings) as client:
        trial = Trial(bench, trace)
        with feeding(client) as feeder:
            for _ in range(count):
                trial.lock(pushed, push=True)
                step()
            for _ in range(count):
                trial.lock(polled, push=False)
                step()
            for _ in range(max(3, count // 10)):
                trial.freeze(frozen)
                step()
        wait_for(lambda: bench.redis.zcard(DUE) == 0, 120)
        held = hold_and_lock(bench, crew, client)
        jobs = feeder.jobs + held.jobs
        return Found(pushed, polled, frozen, held, count_endings(bench.redis, jobs), len(jobs))


def rows(found: Found) -> list[Row]:
    """The checks as a table."""
    return [
        *_locked(f"{len(found.pushed.starts)} locks", found.pushed, 0),
        *_locked(f"{len(found.polled.starts)} locks, push lost", found.polled, 1),
        *_frozen(found.frozen),
        *_held(found.held),
        *_after(found.endings, found.jobs),
    ]


def _locked(name: str, found: Rounds, most: int) -> list[Row]:
    return [
        Row(f"{name}: steps started", found.said("starts"), f"≤ {most}", max(found.starts) <= most),
        Row(f"{name}: bodies begun (claimed before)", found.said("bodies")),
        Row(f"{name}: tokens let out", found.said("tokens_out"), "0", max(found.tokens_out) == 0),
        Row(f"{name}: tokens per generation", found.said("tokens_made"), "≤ 1", max(found.tokens_made) <= 1),
        _halt(name, found),
    ]


def _halt(name: str, found: Rounds) -> Row:
    middle = median(found.halt_ms) if found.halt_ms else 0.0
    said = f"median {middle:.0f}, p99 {found.p99_ms:.0f}, worst {max(found.halt_ms, default=0):.0f}"
    kept = middle <= _MEDIAN_MS and found.p99_ms <= _P99_MS
    return Row(f"{name}: raise to halt, ms", said, f"≤ {_MEDIAN_MS}, ≤ {_P99_MS}", kept)


def _frozen(found: Rounds) -> list[Row]:
    name = f"{len(found.bodies)} frozen brokers, after 250 ms"
    return [
        Row(f"{name}: bodies begun", found.said("bodies"), "0", max(found.bodies) == 0),
        Row(f"{name}: tokens per generation", found.said("tokens_made"), "≤ 1", max(found.tokens_made) <= 1),
        Row("frozen broker: freeze to last sign of life, ms", found.said("halt_ms")),
    ]


def _held(found: Held) -> list[Row]:
    busy, idle = max(found.cpu_percent.values()), max(found.idle_percent.values())
    return [
        Row("held messages before the lock", str(found.held_before), "> 0", found.held_before > 0),
        Row("held messages under lock (unacked)", str(found.unacked), "0", found.unacked == 0),
        Row("unfinished jobs not back in a queue", str(found.missing), "0", found.missing == 0),
        Row("busiest worker under lock, CPU", f"{busy:.1f} %", f"≤ {_BUSY_PERCENT:.0f} %", busy <= _BUSY_PERCENT),
        Row("busiest worker idle and open, CPU", f"{idle:.1f} %"),
    ]


def _after(found: Endings, jobs: int) -> list[Row]:
    return [
        Row("after release: jobs", f"{jobs:,}: {found.said}", "all done", set(found.states) == {"done"}),
        Row("after release: lost", str(found.lost), "0", found.lost == 0),
        Row("after release: ended more than once", str(found.twice), "0", found.twice == 0),
        Row("jobs with a step that ran again", str(found.again)),
    ]


def figures(found: Found) -> dict[str, Any]:
    """All numbers, with the medians that the table leaves out."""
    kinds = {"pushed": found.pushed, "polled": found.polled, "frozen": found.frozen}
    medians: dict[str, float] = {}
    for name, rounds in kinds.items():
        with suppress(ValueError):
            medians[name] = median(rounds.halt_ms)
    return {"halt_ms_median": medians, **vars(found)}


def main() -> int:
    """Run the bench."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=50, help="locks with the push, and as many without")
    said = options.parse_args()
    total = 2 * said.rounds + max(3, said.rounds // 10)
    try:
        with progress() as bar, rig(SHORT) as bench:
            task = bar.add_task("locking a busy line", total=total)
            found = run(bench, said.rounds, lambda: bar.advance(task))
    except KeyboardInterrupt:
        console.print("[yellow]stopped; nothing was left running[/]")
        return 130
    return finish("lockdown on a busy line", rows(found), figures(found), said.json)


if __name__ == "__main__":
    sys.exit(main())
