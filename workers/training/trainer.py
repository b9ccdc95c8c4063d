"""Trains, measures and publishes one adapter; runs in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from switchtower.errors import SwitchtowerError
from switchtower.models import Score
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, Adapter, AdapterShelf, Card, Shape
from workers.models import base as base_model
from workers.models.base import BaseModel
from workers.training.metrics import constant_score, mean_score
from workers.training.recipes import Job

Step = Callable[[str, int], Callable[[float], None]]
"""Opens a named step of so many ticks; what it returns is called with the ticks that passed."""


class NotBetter(SwitchtowerError):
    """The adapter does not beat both the untuned base model and the commonest answer, so it was not kept."""


def train_adapter(job: Job, cache: Path, step: Step) -> Card:
    """Train the job's adapter, measure it beside the base and publish it; one that does not win is not kept."""
    _settle_threads()
    started = time.monotonic()
    weights, shape = _trained(base_model.load_dense(cache), job, step)
    card = _card(job, weights, seconds=round(time.monotonic() - started, 1))
    before = _untuned(job, cache, step)
    card = card.model_copy(update={"scores": _scores(job, cache, Adapter(card, shape, weights), before, step)})
    floor = constant_score(job.recipe.metric, job.train, job.heldout)
    if any(score.adapter <= max(score.base, floor) for score in card.scores):
        raise NotBetter(f"{job.name} does not win: {_told(card)}, {floor:.3f} for a constant; nothing was written")
    _publish(job.folder, card, shape, weights)
    return card


def evaluate_adapter(job: Job, cache: Path, step: Step) -> tuple[Score, ...]:
    """Measure a published adapter again, beside the base."""
    _settle_threads()
    base = base_model.load(cache)
    adapter = AdapterShelf(job.folder.parent).take(job.name, base.linears())
    return _scores(job, cache, adapter, _untuned(job, cache, step), step)


def _untuned(job: Job, cache: Path, step: Step) -> dict[str, float]:
    return {kind: _measured(base, job, step, f"base, {kind}") for kind, base in _forms(cache)}


def _scores(job: Job, cache: Path, adapter: Adapter, before: dict[str, float], step: Step) -> tuple[Score, ...]:
    from workers.training.switch import put_on

    scores = []
    for kind, base in _forms(cache):
        put_on(base, None, adapter)
        after = _measured(base, job, step, f"adapter, {kind}")
        scores.append(
            Score(metric=job.recipe.metric, weights=kind, base=before[kind], adapter=after, heldout=len(job.heldout))
        )
    return tuple(scores)


def _forms(cache: Path) -> Iterator[tuple[Literal["bf16", "nf4"], BaseModel]]:
    """The base model in each form that this machine serves, bf16 always."""
    yield "bf16", base_model.load_dense(cache)
    serving = base_model.load(cache)
    if serving.quantised:
        yield "nf4", serving


def _measured(base: BaseModel, job: Job, step: Step, name: str) -> float:
    from workers.training.evaluation import answers

    found = answers(base, job.recipe.system_prompt, job.heldout, step(f"measuring: {name}", len(job.heldout)))
    return round(mean_score(job.recipe.metric, found, job.heldout), 3)


def _trained(base: BaseModel, job: Job, step: Step) -> tuple[bytes, Shape]:
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    from workers.training.lora import step_count, train
    from workers.training.switch import shape_of

    tick = step("training", step_count(job))
    peft = train(base, job, lambda _step, _loss: tick(1))
    tensors = {key: value.to("cpu", torch.bfloat16) for key, value in sorted(get_peft_model_state_dict(peft).items())}
    return save(tensors, metadata={"format": "pt"}), shape_of(peft.peft_config["default"], base_model.NAME)


def _card(job: Job, weights: bytes, seconds: float) -> Card:
    return Card(
        name=job.name,
        version=int(job.name.rpartition("-v")[2]) if job.name.rpartition("-v")[2].isdigit() else 1,
        base=base_model.NAME,
        capabilities=job.recipe.capabilities,
        system_prompt=job.recipe.system_prompt,
        rank=job.recipe.rank,
        sha256=hashlib.sha256(weights).hexdigest(),
        seed=job.recipe.seed,
        seconds=seconds,
    )


def _told(card: Card) -> str:
    return ", ".join(f"{score.weights} {score.adapter} beside {score.base}" for score in card.scores)


def _publish(folder: Path, card: Card, shape: Shape, weights: bytes) -> None:
    """Write all three files aside, then move them in; the card's hash refuses any mixture."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        (aside / WEIGHTS).write_bytes(weights)
        (aside / CONFIG).write_text(_pretty(shape.model_dump() | {"task_type": "CAUSAL_LM"}))
        (aside / CARD).write_text(_pretty(card.model_dump(mode="json")))
        with _undisturbed():
            for file in (WEIGHTS, CONFIG, CARD):
                os.replace(aside / file, folder / file)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _pretty(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the block is done."""
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _settle_threads() -> None:
    """One thread and deterministic kernels: the same data and seed give the same adapter on the same machine."""
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
