"""The local engine against lock-and-swap, and against itself without adapters: one process, in turns.

Adapters are random numbers on all linears; what they say has no sense, what it costs to say it is real. Rates are
tokens that callers got, prompts included in the time. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from memory import memory_rows, soak_rows
from report import Row, console, finish, parser, progress
from swapping import SwappingEngine
from through import line_rows
from traffic import interleaved, make_shelf, run, zipf

from switchtower.models import Sampling
from switchtower.settings import Local, settings
from workers.adapters.shelf import AdapterShelf
from workers.engine.engine import Engine
from workers.models import base as base_model
from workers.models.base import BaseModel
from workers.providers.base import Answering

AT_ONCE, TOKENS, SLOTS = 16, 32, 8
INTERLEAVED_AIM, ZIPF_AIM, BARE_AIM, FIRST_AIM, MISS_AIM_MS = 6.0, 4.0, 0.8, 1.5, 20.0


@dataclass
class Bench:
    """Both engines on a base model each, and what was found."""

    ours: Engine
    swapping: SwappingEngine
    shelf: AdapterShelf
    rounds: int
    weights: str
    threads: int
    residency_s: float
    at_once: int = AT_ONCE
    tokens: int = TOKENS
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def turns(self, *legs: Callable[[], float]) -> list[list[float]]:
        """Run the legs in turns; gives what each found, round by round."""
        with progress() as bar:
            task = bar.add_task("rounds", total=self.rounds * len(legs))
            found: list[list[float]] = [[] for _ in legs]
            for _ in range(self.rounds):
                for index, leg in enumerate(legs):
                    found[index].append(leg())
                    bar.advance(task)
        return found

    def compare(self, what: str, aim: float, ours: Callable[[], float], other: Callable[[], float]) -> None:
        """A row with the median of the rounds' ratios."""
        mine, others = self.turns(ours, other)
        ratio = median(a / b for a, b in zip(mine, others, strict=True))
        said = f"{ratio:.2f} ({median(mine):.0f} / {median(others):.1f} tokens/s)"
        self.rows.append(Row(what, said, f">= {aim}", ratio >= aim))
        self.figures[what] = {"ratio": ratio, "ours": mine, "other": others}


def interleaved_rows(bench: Bench) -> None:
    """Eight adapters in turn, all of them in slots."""
    names = bench.shelf.names()[:SLOTS]
    both = _legs(bench, interleaved(names, 4 * AT_ONCE), interleaved(names, AT_ONCE))
    bench.compare(f"{SLOTS} adapters interleaved, {AT_ONCE} at once, against lock-and-swap", INTERLEAVED_AIM, *both)


def zipf_rows(bench: Bench) -> None:
    """More adapters than slots."""
    names = bench.shelf.names()
    both = _legs(bench, zipf(names, 4 * AT_ONCE), zipf(names, AT_ONCE))
    what = f"{len(names)} adapters, {SLOTS} slots, Zipf 1.1, {AT_ONCE} at once, against lock-and-swap"
    bench.compare(what, ZIPF_AIM, *both)


def bare_rows(bench: Bench) -> None:
    """What the adapters cost a batch."""
    names = bench.shelf.names()[:SLOTS]
    dressed = _rate(bench.ours, interleaved(names, 4 * AT_ONCE))
    bare = _rate(bench.ours, [None] * 4 * AT_ONCE)
    bench.compare(f"{SLOTS} adapters in the batch, against the same batch without", BARE_AIM, dressed, bare)


def first_rows(bench: Bench) -> None:
    """Time to first token of a newcomer: into an idle engine, and as the sixteenth of a batch that writes."""
    name = bench.shelf.names()[0]

    def asked() -> float:
        found = []
        for _ in range(8):
            time.sleep(random.uniform(0, 0.3))  # or each question would come just after a step has begun
            found.append(run(bench.ours, [name], 1, 1).first)
        return mean(found)

    def busy() -> float:
        with _writing(bench.ours, bench.shelf.names()[:SLOTS], AT_ONCE - 1):
            return asked()

    idles, busies = bench.turns(asked, busy)
    ratio = median(b / a for a, b in zip(idles, busies, strict=True))
    said = f"{ratio:.2f} ({median(busies) * 1000:.0f} / {median(idles) * 1000:.0f} ms)"
    bench.rows.append(
        Row("first token at batch 16, against an idle engine", said, f"<= {FIRST_AIM}", ratio <= FIRST_AIM)
    )


def stop_rows(bench: Bench) -> None:
    """Steps that a row still takes once its stop says so."""
    late = []
    for _ in range(10):
        meter, at = bench.ours.loop.meter, []

        def stop(at: list[int] = at, meter: Any = meter) -> str | None:
            at.append(meter.steps)
            return "cancelled" if len(at) > 3 else None

        answer = bench.ours.generate([{"role": "user", "content": "Count."}], None, Sampling(max_tokens=64), str, stop)
        late.append(answer.completion_tokens - 3)
    bench.rows.append(Row("tokens written after a stop", str(max(late)), "<= 1", max(late) <= 1))


def miss_rows(bench: Bench) -> None:
    """What an adapter costs that is in no slot: read from disk, and copied from host memory."""
    names, manager = bench.shelf.names(), bench.ours.adapters
    cold, warm = [], []
    for times in (cold, warm):
        for name in names[SLOTS : 3 * SLOTS]:
            time.sleep(2 * bench.residency_s / SLOTS)  # an adapter that has just come keeps its slot for a while
            started = time.perf_counter()
            ticket = manager.want(name)
            while (lease := ticket.poll()) is None:
                time.sleep(0.0002)
            times.append((time.perf_counter() - started) * 1000)
            lease.release()
    for what, times in (("from disk, checked", cold), ("from host memory", warm)):
        found = median(times)
        bench.rows.append(
            Row(f"adapter into a slot, {what}", f"{found:.1f} ms", f"<= {MISS_AIM_MS}", found <= MISS_AIM_MS)
        )


PARTS = {
    "interleaved": interleaved_rows,
    "zipf": zipf_rows,
    "bare": bare_rows,
    "first": first_rows,
    "stop": stop_rows,
    "miss": miss_rows,
    "line": line_rows,
    "memory": memory_rows,
    "soak": soak_rows,
}


def main() -> int:
    """Measure the chosen parts."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder, _bench(args, Path(folder)) as bench:
        for name in args.only or PARTS:
            console.print(f"[dim]{name}[/]")
            PARTS[name](bench)
    title = f"the local engine, {args.weights} on {args.device or base_model.best_device()}, rank {args.rank}"
    return finish(title, bench.rows, bench.figures, args.json)


def _arguments() -> Any:
    made = parser(__doc__)
    made.add_argument("--only", nargs="*", choices=list(PARTS), help="parts to measure, all by default")
    made.add_argument("--weights", choices=["auto", "nf4", "bf16", "fp32"], default="auto")
    made.add_argument("--device", help="cpu or cuda; the best there is by default")
    made.add_argument("--threads", type=int, default=1, help="of the CPU, on both sides")
    made.add_argument("--rank", type=int, default=8, help="of the adapters")
    made.add_argument("--adapters", type=int, default=32)
    made.add_argument("--rounds", type=int, default=3)
    return made.parse_args()


@contextmanager
def _bench(args: Any, folder: Path) -> Iterator[Bench]:
    import torch

    torch.set_num_threads(args.threads)
    one, other = (_base(args) for _ in range(2))
    shelf = make_shelf(folder, one, args.adapters, args.rank)
    local = Local(max_batch=AT_ONCE, max_concurrent_adapters=SLOTS, threads=args.threads)
    both = Engine(one, shelf, local), SwappingEngine(other, shelf, SLOTS)
    bench = Bench(*both, shelf, args.rounds, args.weights, args.threads, local.adapter_residency_s)
    try:
        yield bench
    finally:
        bench.ours.close()


def _base(args: Any) -> BaseModel:
    return base_model.load(
        settings().local.cache_directory, args.device, dtype=base_model.dtype_of(Local(weights=args.weights))
    )


def _legs(bench: Bench, mine: list[str | None], others: list[str | None]) -> tuple[Callable[[], float], ...]:
    """Both engines once over their adapters first, as they would be after a minute of service."""
    for engine, adapters in ((bench.ours, mine), (bench.swapping, others)):
        run(engine, list(dict.fromkeys(adapters))[:SLOTS], 1, 1)
    return _rate(bench.ours, mine), _rate(bench.swapping, others)


def _rate(engine: Answering, adapters: list[str | None]) -> Callable[[], float]:
    return lambda: run(engine, adapters, TOKENS, AT_ONCE).rate


@contextmanager
def _writing(engine: Engine, names: list[str], count: int) -> Iterator[None]:
    """Inside the block, so many rows write without an end."""
    import threading

    over, begun = threading.Event(), threading.Semaphore(0)

    def write(index: int) -> None:
        said = [{"role": "user", "content": "Tell me a very long story."}]
        while not over.is_set():
            stop = lambda: "over" if over.is_set() else None  # noqa: E731 - three words
            engine.generate(said, names[index % len(names)], Sampling(max_tokens=400), lambda _: begun.release(), stop)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for _ in range(3 * count):
        begun.acquire()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
