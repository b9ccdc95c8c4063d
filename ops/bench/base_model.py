"""What a base model costs: to import, to load again, to hold, and what unloading gives back.

python ops/bench/base_model.py [FOLDER | FILE.gguf | NAME] [--rounds 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from switchtower.settings import Local
from workers.models import base as base_model
from workers.models.holder import Holder
from workers.models.progress import Progress
from workers.models.threads import calibrated, limit
from workers.quiet import quiet


class Steps(Progress):
    """Takes the time of each step."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []

    def begin(self, step: str) -> None:
        self.times.append((step, time.perf_counter()))


def resident() -> float:
    """This process's memory, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def numbers(model: Any) -> float:
    """Parameters, buffers and what 4 bits need beside them, in MB."""
    found = {id(one): one for one in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            nested = getattr(state, "state2", None)
            for one in (state.absmax, state.code, *((nested.absmax, nested.code) if nested else ())):
                found[id(one)] = one
    return sum(one.numel() * one.element_size() for one in found.values()) / 1e6


def imported(source: str | None) -> None:
    """Into an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        steps = Steps()
        base_model.prepare(Path(cache), steps, source=source)
        steps.begin("")
        for (step, began), (_, ended) in zip(steps.times, steps.times[1:], strict=False):
            print(f"  {step:40} {ended - began:7.2f} s")
        print(f"  {'together':40} {steps.times[-1][1] - steps.times[0][1]:7.2f} s")


def loaded(local: Local, dtype: str, rounds: int) -> None:
    """Again and again, in one process."""
    import torch

    load = {"source": local.base_model_path, "dtype": dtype}
    holder = Holder(lambda progress: base_model.load(local.cache_directory, progress=progress, **load))
    reloads, before = [], resident()
    for _ in range(rounds):
        began = time.perf_counter()
        base = holder.load()
        reloads.append(time.perf_counter() - began)
        with torch.inference_mode():
            base.model(torch.tensor([[1, 2, 3]]))
        held, used = numbers(base.model), resident()
        holder.unload()
    again = f"first {reloads[0]:.2f} s, then at best {min(reloads[1:]):.2f} s"
    memory = (
        f"resident {before:.0f} MB before, {used:.0f} MB loaded, {resident():.0f} MB after unloading {rounds} times"
    )
    print(f"  {dtype:9} {again}; numbers {held:.1f} MB; {memory}")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    with quiet():
        import bitsandbytes  # noqa: F401
        import torch
    local = Local(base_model_path=told.source)
    print(f"torch {torch.__version__}, at most {limit()} threads")
    print("import")
    imported(told.source)
    base_model.prepare_served(local)
    print("load")
    for dtype in ("auto", "bfloat16", "float32"):
        loaded(local, dtype, told.rounds)
    base, began = base_model.load(local.cache_directory, source=told.source), time.perf_counter()
    print(f"threads: {calibrated(base.model, limit())}, found in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
