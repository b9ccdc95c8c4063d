"""Traffic for an engine: who asks for which adapter, how many at a time, and when the first tokens came."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from switchtower.models import Sampling
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, AdapterShelf
from workers.models.base import BaseModel
from workers.providers.base import Answering

SAID = (
    "Tell me about the sea in three sentences.",
    "What should I cook tonight? I have rice, eggs and an onion.",
    "Write a line for a birthday card to a colleague.",
    "Name three rivers, and say through which countries they flow.",
    "Why does the moon change its shape?",
    "Explain to a child what a queue is.",
    "Which words rhyme with station?",
    "Give me a plan for a day in the mountains.",
)


@dataclass(frozen=True)
class Run:
    """Tokens written, seconds from the first question to the last answer, seconds to each first token."""

    tokens: int
    seconds: float
    firsts: tuple[float, ...]

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    @property
    def first(self) -> float:
        return median(self.firsts)


def run(
    engine: Answering, adapters: Sequence[str | None], tokens: int, at_once: int, tick: Callable[[], object] = int
) -> Run:
    """Ask once for each adapter in the list, so many at a time."""
    firsts: list[float] = []
    started = time.monotonic()

    def ask(job: tuple[int, str | None]) -> int:
        index, adapter = job
        asked, seen = time.monotonic(), False

        def on_token(_: str) -> None:
            nonlocal seen
            if not seen:
                firsts.append(time.monotonic() - asked)
            seen = True

        said = [{"role": "user", "content": SAID[index % len(SAID)]}]
        answer = engine.generate(said, adapter, Sampling(max_tokens=tokens), on_token, lambda: None)
        tick()
        return int(answer.completion_tokens)

    with ThreadPoolExecutor(at_once) as askers:
        written = sum(askers.map(ask, enumerate(adapters)))
    return Run(written, time.monotonic() - started, tuple(firsts))


def interleaved(names: Sequence[str], count: int) -> list[str | None]:
    """One after the other, so that no two neighbours have the same adapter."""
    return [names[index % len(names)] for index in range(count)]


def zipf(names: Sequence[str], count: int, exponent: float = 1.1, seed: int = 1) -> list[str | None]:
    """A few are asked for often, most of them seldom."""
    weights = [1 / (rank + 1) ** exponent for rank in range(len(names))]
    return list(random.Random(seed).choices(names, weights, k=count))


def make_shelf(directory: Path, base: BaseModel, count: int, rank: int) -> AdapterShelf:
    """So many adapters on all linears, of small random numbers."""
    for number in range(count):
        _write(directory / f"adapter-{number:02}-v1", base, rank, number)
    return AdapterShelf(directory)


def _write(folder: Path, base: BaseModel, rank: int, seed: int) -> None:
    import hashlib
    import json

    import torch
    from safetensors.torch import save

    draw = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Any:
        return (torch.randn(shape, generator=draw) * 0.01).to(torch.bfloat16)

    tensors = {}
    for name, (out_features, in_features) in base.linears().items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = noise(rank, in_features)
        tensors[f"base_model.model.{name}.lora_B.weight"] = noise(out_features, rank)
    weights = save(tensors)
    card = {"name": folder.name, "version": 1, "base": base.name, "rank": rank, "seed": seed, "system_prompt": ""}
    card |= {"capabilities": ["general"], "sha256": hashlib.sha256(weights).hexdigest()}
    shape = {"peft_type": "LORA", "base_model_name_or_path": base.name, "r": rank, "lora_alpha": 2 * rank}
    targets = sorted({name.rpartition(".")[2] for name in base.linears()})
    folder.mkdir(parents=True)
    (folder / CARD).write_text(json.dumps(card))
    (folder / CONFIG).write_text(json.dumps(shape | {"target_modules": targets}))
    (folder / WEIGHTS).write_bytes(weights)
