"""Trains, measures and publishes one adapter; runs in a process of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from switchtower.models import Score
from workers.adapters.deployments import family_of
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, Adapter, AdapterShelf, Card, Shape
from workers.models import base as base_model
from workers.models.base import BaseModel
from workers.training.checkpoints import FOLDER, Checkpoints
from workers.training.errors import AlreadyTraining, NotBetter
from workers.training.metrics import constant_score, mean_score
from workers.training.orders import Bases, Outcome
from workers.training.recipes import Job
from workers.training.rounding import round_linears


class Tell(Protocol):
    """Hears how far a phase is."""

    def __call__(self, phase: str, done: int, total: int, loss: float | None = None) -> None: ...


def train(job: Job, bases: Bases, tell: Tell) -> Outcome:
    """Train the job's adapter, measure it beside the base and publish it; one that does not win is not kept."""
    _settle_threads()
    with _alone(job.folder):
        base = _dense(bases)
        weights, shape, seconds = _trained(base, job, tell)
        card = _card(job, base, weights, seconds)
        measured = _measured_all(job, bases, Adapter(card, shape, weights), tell)
        Checkpoints(job).forget()
        _expect_better(job, measured)
        card = card.model_copy(update={"scores": measured.scores, "controls": measured.controls})
        _publish(job.folder, card, shape, weights)
    return measured.model_copy(update={"card": card})


def evaluate(job: Job, bases: Bases, tell: Tell) -> Outcome:
    """Measure a published adapter again, beside the base and its controls."""
    _settle_threads()
    return _measured_all(job, bases, _taken(job, bases), tell)


def measure(job: Job, bases: Bases, tell: Tell) -> Outcome:
    """Measure a published adapter alone; the base counts as 0."""
    _settle_threads()
    return Outcome(scores=_scores(job, bases, _taken(job, bases), {}, tell))


def _taken(job: Job, bases: Bases) -> Adapter:
    base = _dense(bases)
    return AdapterShelf(job.folder.parent, base.name, base.sha256).take(job.name, base.linears())


def _measured_all(job: Job, bases: Bases, adapter: Adapter, tell: Tell) -> Outcome:
    from workers.training.controls import controls, labels_of

    before: dict[str, float] = {kind: _measured(base, job, tell, f"base, {kind}") for kind, base in _forms(bases)}
    total, done = len(job.train) + len(job.heldout), 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        tell("measuring: controls", done, total)

    beaten = controls(_dense(bases), job, advance) if labels_of(job) else {}
    return Outcome(scores=_scores(job, bases, adapter, before, tell), controls=beaten)


def _expect_better(job: Job, measured: Outcome) -> None:
    floor = constant_score(job.recipe.metric, job.train, job.heldout)
    if any(score.adapter <= max(score.base, floor) for score in measured.scores):
        told = ", ".join(f"{score.weights} {score.adapter} beside {score.base}" for score in measured.scores)
        raise NotBetter(f"{job.name} does not win: {told}, {floor:.3f} for a constant; nothing was written")


def _scores(job: Job, bases: Bases, adapter: Adapter, before: dict[str, float], tell: Tell) -> tuple[Score, ...]:
    from workers.training.switch import put_on

    scores = []
    for kind, base in _forms(bases):
        put_on(base, None, adapter)
        after = _measured(base, job, tell, f"adapter, {kind}")
        untuned, heldout = before.get(kind, 0.0), len(job.heldout)
        scores.append(Score(metric=job.recipe.metric, weights=kind, base=untuned, adapter=after, heldout=heldout))
    return tuple(scores)


def _dense(bases: Bases) -> BaseModel:
    return base_model.load_dense(bases.cache, source=bases.source)


def _forms(bases: Bases) -> Iterator[tuple[Literal["bf16", "nf4"], BaseModel]]:
    """The base model in each form in which it is served somewhere."""
    yield "bf16", _dense(bases)
    yield "nf4", round_linears(_dense(bases))


def _measured(base: BaseModel, job: Job, tell: Tell, name: str) -> float:
    from workers.training.evaluation import answers

    done, total = 0, len(job.heldout)

    def advance(more: int) -> None:
        nonlocal done
        done += more
        tell(f"measuring: {name}", done, total)

    found = answers(base, job.recipe.system_prompt, job.heldout, advance)
    return round(mean_score(job.recipe.metric, found, job.heldout), 3)


def _trained(base: BaseModel, job: Job, tell: Tell) -> tuple[bytes, Shape, float]:
    import torch
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    from workers.training.lora import step_count, train
    from workers.training.switch import shape_of

    steps = step_count(job)
    peft, seconds = train(base, job, lambda step, loss: tell("training", step, steps, loss))
    tensors = {key: value.to("cpu", torch.bfloat16) for key, value in sorted(get_peft_model_state_dict(peft).items())}
    shape = shape_of(peft.peft_config["default"], base.name)
    return save(tensors, metadata={"format": "pt"}), shape, round(seconds, 1)


def _card(job: Job, base: BaseModel, weights: bytes, seconds: float) -> Card:
    return Card(
        name=job.name,
        version=family_of(job.name)[1] or 1,
        base=base.name,
        base_sha256=base.sha256 or None,
        capabilities=job.recipe.capabilities,
        system_prompt=job.recipe.system_prompt,
        rank=job.recipe.rank,
        sha256=hashlib.sha256(weights).hexdigest(),
        seed=job.recipe.seed,
        seconds=seconds,
    )


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
def _alone(folder: Path) -> Iterator[None]:
    """Train this adapter in one process only; the kernel lets go when the process dies."""
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyTraining(f"{folder.name} is being trained by another process") from None
        try:
            yield
        finally:
            (place / "lock").unlink()
            with suppress(OSError):  # a checkpoint stays, and so does what else is in there
                place.rmdir()
                folder.rmdir()


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
