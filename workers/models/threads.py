"""How many threads compute a model best on this machine, now: measured, because no formula knows its neighbours."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

_ROUNDS = 9
_PATIENCE_S = 0.25
_WORTH = 0.9
"""A larger number must take less than this share of the time that a smaller one takes."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_log = logging.getLogger(__name__)


def settle(model: Any, wanted: int | None) -> int:
    """Set and return the process's number of threads: the wanted one, or the one that decodes fastest."""
    import torch

    threads = wanted or calibrated(model, limit())
    torch.set_num_threads(threads)
    how = "as set" if wanted else "as measured"
    _log.info("threads of the model: %d, %s; OMP_WAIT_POLICY=%s", threads, how, os.environ.get("OMP_WAIT_POLICY"))
    return threads


def limit() -> int:
    """How many threads can run at once: the processors that this process may use, its container's share, OpenMP's."""
    bounds = [len(os.sched_getaffinity(0))]
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        bounds.append(int(told))
    try:
        quota, period = _QUOTA.read_text().split()
        bounds.append(int(quota) // int(period))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return max(1, min(bounds))


def calibrated(model: Any, most: int) -> int:
    """The smallest number that nearly no larger one beats, of the products of one decoder layer and one token."""
    import torch

    products = _products(model)
    if most == 1 or not products:
        return min(most, torch.get_num_threads())
    before, times = torch.get_num_threads(), {count: list[float]() for count in _counts(most)}
    try:
        _measure(products, times)
    finally:
        torch.set_num_threads(before)
    return fastest({count: median(taken) for count, taken in times.items()})


def fastest(times: dict[int, float]) -> int:
    """The smallest number of threads that nearly no larger one beats."""
    chosen = min(times)
    for count in sorted(times):
        if times[count] < times[chosen] * _WORTH:
            chosen = count
    return chosen


def _counts(most: int) -> list[int]:
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def _measure(products: Iterable[tuple[Any, Any]], times: dict[int, list[float]]) -> None:
    """In turns, so that a neighbour's burst of work hits every number alike; the first round only warms up."""
    import torch

    until = time.perf_counter() + _PATIENCE_S
    with torch.inference_mode():
        for round_ in range(_ROUNDS + 1):
            for count, taken in times.items():
                torch.set_num_threads(count)
                started = time.perf_counter()
                for linear, token in products:
                    linear(token)
                if round_:
                    taken.append(time.perf_counter() - started)
            if round_ and time.perf_counter() > until:
                return


def _products(model: Any) -> list[tuple[Any, Any]]:
    """The linears of the first decoder layer that runs on the CPU, each with one token."""
    import torch

    from workers.models.placement import decoder_layers

    _, layers = decoder_layers(model)
    dtype = model.get_input_embeddings().weight.dtype
    for layer in layers:
        linears = [one for one in layer.modules() if isinstance(one, torch.nn.Linear)]
        if linears and linears[0].weight.device.type == "cpu":
            return [(one, torch.randn(1, one.in_features, dtype=dtype)) for one in linears]
    return []
