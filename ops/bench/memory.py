"""What the engine keeps: the base, an adapter in a slot, and whether anything grows with the requests."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import psutil
from report import Row, progress
from traffic import interleaved, run

from workers.adapters.shelf import WEIGHTS

if TYPE_CHECKING:
    from engine import Bench

BASE_AIM_MB, ADAPTER_AIM = 120.0, 1.1
REQUESTS, BLOCK = 10_000, 1_000
GROWTH_AIM_MB = 8.0
"""The last half of the requests may move the process by so much: allocators round and caches settle."""


def memory_rows(bench: Bench) -> None:
    """Bytes of the base's weights, and of a slot beside the adapter's file."""
    base = bench.ours._base
    size = sum(_bytes(one) for one in (*base.model.parameters(), *base.model.buffers())) / 1e6
    aim = (f"<= {BASE_AIM_MB:.0f}", size <= BASE_AIM_MB) if base.quantised else ("", None)
    bench.rows.append(Row("base model's weights", f"{size:.0f} MB", *aim))
    bench.ours.adapters.preload(bench.shelf.names()[: bench.ours.bank.slots])
    file = (bench.shelf.directory / bench.shelf.names()[0] / WEIGHTS).stat().st_size
    ratio = bench.ours.bank.nbytes / bench.ours.bank.slots / file
    bench.rows.append(
        Row("an adapter in a slot, against its file", f"{ratio:.2f}", f"<= {ADAPTER_AIM}", ratio <= ADAPTER_AIM)
    )


def soak_rows(bench: Bench) -> None:
    """Ten thousand requests over all adapters: memory, threads and what the engine keeps do not grow."""
    names, seen = bench.shelf.names(), []
    with progress() as bar:
        task = bar.add_task("requests", total=REQUESTS)
        for _ in range(REQUESTS // BLOCK):
            run(bench.ours, interleaved(names, BLOCK), 2, 16, lambda: bar.advance(task))
            gc.collect()
            seen.append({"mb": psutil.Process().memory_info().rss / 1e6, **_kept(bench)})
    bench.figures["soak"] = seen
    half, last = seen[len(seen) // 2 - 1], seen[-1]
    growth = last["mb"] - half["mb"]
    bench.rows.append(
        Row(
            f"growth over the last {REQUESTS // 2:,} requests",
            f"{growth:+.1f} MB",
            f"<= {GROWTH_AIM_MB:.0f}",
            growth <= GROWTH_AIM_MB,
        )
    )
    same = all(half[name] == last[name] for name in _kept(bench))
    bench.rows.append(Row("threads, rows, requests, tickets and leases left", str(_kept(bench)), "as before", same))


def _kept(bench: Bench) -> dict[str, Any]:
    loop, facts = bench.ours.loop, bench.ours.adapters.facts()
    return {
        "threads": threading.active_count(),
        "rows": loop.rows,
        "waiting": loop.waiting + sum(fact.waiting for fact in facts),
        "leases": sum(fact.leases for fact in facts),
    }


def _bytes(tensor: Any) -> int:
    state = getattr(tensor, "quant_state", None)
    scales = 0 if state is None else state.absmax.nbytes + (state.state2.absmax.nbytes if state.nested else 0)
    return int(tensor.nbytes + scales)
