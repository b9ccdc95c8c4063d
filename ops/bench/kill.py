"""Many jobs through the line while its workers are killed with SIGKILL; beside it plain Celery under the same fire.

At the end every job must stand in exactly one terminal state, and none may have been answered twice. Plain
Celery acknowledges late and stores nothing else, as its documentation advises; its tasks only count themselves.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice

from endings import Endings, count_endings
from plain import COUNTED, RUNS, create_plain, plain_worker
from report import Row, console, finish, parser, progress
from rig import KINDS, SHORT, Rig, kill, rig

from switchtower.client import Client
from switchtower.jobs import DUE
from switchtower.messages import UserRequest
from workers.supervisor import Supervisor

Step = Callable[[int], None]
_WINDOW = 1500
_LATE_S = 60
_QUIET_S = 45
"""No progress for this long means that nothing will come any more: longer than every lease and time-out here."""
_PLAIN_QUIET_S = 130
"""The same for plain Celery, whose transport looks for unacknowledged messages every 100 s only."""


@dataclass
class Outcome:
    """What became of the jobs of one side."""

    jobs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    endings: Endings = field(default_factory=Endings)
    seconds: float = 0

    @property
    def rate(self) -> float:
        return self.jobs / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Plan:
    """What is to be done to one side, and until when (monotonic)."""

    jobs: int
    kills: int
    until: float
    step: Step


class Fire:
    """Kills one worker after the other, evenly over the jobs."""

    def __init__(self, crew: Supervisor, names: tuple[str, ...], plan: Plan, outcome: Outcome) -> None:
        self._crew = crew
        self._targets = islice(cycle(names), plan.kills)
        self._every = max(1, plan.jobs // (plan.kills + 1))
        self._step = plan.step
        self._outcome = outcome

    def at(self, done: int) -> None:
        """Kill what is due when so many jobs are done."""
        self._step(done)
        if done >= self._every * (self._outcome.kills.total() + 1) and (name := next(self._targets, None)):
            kill(self._crew, name)
            self._outcome.kills[name] += 1


def follow(done: Callable[[], int], jobs: int, until: float, step: Step, quiet_s: float = _QUIET_S) -> float:
    """Watch a count grow until it is complete, the time is up, or nothing has moved for long; when it last moved."""
    seen, moved = 0, time.monotonic()
    while seen < jobs and time.monotonic() < until and time.monotonic() - moved < quiet_s:
        time.sleep(0.1)
        if (now := done()) > seen:
            seen, moved = now, time.monotonic()
        step(now)
    return moved


def feed(client: Client, jobs: int, until: float) -> Iterator[list[str]]:
    """Hand in the jobs, never more than a window ahead of what is finished."""
    handed = 0
    while handed < jobs and time.monotonic() < until:
        some = min(250, jobs - handed)
        if int(client.ledger.redis.zcard(DUE)) + some > _WINDOW:
            yield []
            continue
        handed += some
        yield client.submit_many(UserRequest(prompt=f"say {number}") for number in range(some))


def line_under_fire(bench: Rig, plan: Plan) -> Outcome:
    """The line's outcome."""
    outcome, started, handed = Outcome(), time.monotonic(), list[str]()
    with bench.line() as crew, Client(bench.settings) as client:

        def done() -> int:
            return len(handed) - int(bench.redis.zcard(DUE))

        fire = Fire(crew, KINDS, plan, outcome)
        for some in feed(client, plan.jobs, plan.until):
            handed += some
            fire.at(done())
            time.sleep(0 if some else 0.1)
        outcome.seconds = follow(done, len(handed), plan.until + _LATE_S, fire.at) - started
    outcome.jobs = len(handed)
    outcome.endings = count_endings(bench.redis, handed)
    return outcome


def plain_under_fire(bench: Rig, plan: Plan) -> Outcome:
    """Plain Celery's outcome."""
    outcome, app = Outcome(jobs=plan.jobs), create_plain(bench.settings.broker.url)
    names = tuple(f"plain-{kind}" for kind in KINDS)
    with bench.workers(**{name: plain_worker(kind, COUNTED) for name, kind in zip(names, KINDS, strict=True)}) as crew:
        started = time.monotonic()
        with app.producer_pool.acquire(block=True) as producer, producer.batch():
            for number in range(plan.jobs):
                app.send_task(COUNTED, args=[number], producer=producer)
        fire = Fire(crew, names, plan, outcome)
        ended = follow(lambda: int(bench.redis.hlen(RUNS)), plan.jobs, plan.until, fire.at, _PLAIN_QUIET_S)
        outcome.seconds = ended - started
    runs = [int(count) for count in bench.redis.hvals(RUNS)]
    outcome.endings = Endings(lost=plan.jobs - len(runs), twice=sum(count > 1 for count in runs))
    app.close()
    return outcome


def rows(jobs: int, ours: Outcome, bare: Outcome) -> list[Row]:
    """Both sides in one table."""
    ended = ours.endings
    return [
        Row("line: jobs", f"{ours.jobs:,} in {ours.seconds:.0f} s ({ours.rate:.0f}/s)", f"{jobs:,}", ours.jobs == jobs),
        Row("line: SIGKILLs", _kills(ours)),
        Row("line: lost", str(ended.lost), "0", ended.lost == 0),
        Row("line: ended more than once", str(ended.twice), "0", ended.twice == 0),
        Row("line: terminal states", ended.said, "all done", set(ended.states) == {"done"}),
        Row("line: jobs with a step that ran again", str(ended.again)),
        Row("plain Celery: tasks", f"{bare.jobs:,} in {bare.seconds:.0f} s ({bare.rate:.0f}/s)"),
        Row("plain Celery: SIGKILLs", _kills(bare)),
        Row("plain Celery: lost", str(bare.endings.lost)),
        Row("plain Celery: ran twice", str(bare.endings.twice)),
    ]


def _kills(outcome: Outcome) -> str:
    return f"{outcome.kills.total()} ({', '.join(f'{name} {count}' for name, count in outcome.kills.items())})"


def both(jobs: int, kills: int, limit: float) -> tuple[Outcome, Outcome]:
    """Plain Celery's outcome, then the line's, on one broker."""
    with progress() as bar, rig(SHORT) as bench:

        def under(name: str, run: Callable[[Rig, Plan], Outcome]) -> Outcome:
            task = bar.add_task(name, total=jobs)
            return run(bench, Plan(jobs, kills, time.monotonic() + limit, lambda now: bar.update(task, completed=now)))

        return under("plain Celery", plain_under_fire), under("the line", line_under_fire)


def main() -> int:
    """Run the bench."""
    options = parser(__doc__)
    options.add_argument("--jobs", type=int, default=40_000)
    options.add_argument("--kills", type=int, default=40, help="SIGKILLs on each side")
    options.add_argument("--limit", type=float, default=900, help="seconds for each side; what is missing is said")
    said = options.parse_args()
    try:
        bare, ours = both(said.jobs, said.kills, said.limit)
    except KeyboardInterrupt:
        console.print("[yellow]stopped; nothing was left running[/]")
        return 130
    if ours.jobs < said.jobs:
        console.print(f"[yellow]the time was up: {said.jobs - ours.jobs:,} jobs were never handed in[/]")
    figures = {"line": ours, "plain": bare}
    return finish(f"{said.kills} SIGKILLs under load", rows(said.jobs, ours, bare), figures, said.json)


if __name__ == "__main__":
    sys.exit(main())
