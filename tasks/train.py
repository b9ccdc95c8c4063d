"""train: an adapter whose folder stands on this worker's shelf is trained in a process of its own.

A request names a folder and changes numbers. So whoever may hand in jobs can start what an operator has put
there, and nothing else: no data, no prompt and no path comes from outside, and what is trained is not trained again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from switchtower.errors import ModelUnavailable
from switchtower.messages import Message, TrainingReport, TrainingRequest
from tasks.station import Body
from tasks.work import Work
from workers.adapters.shelf import CARD, Card, check_name
from workers.training.errors import AlreadyTrained, TrainingBroken, TrainingDataError
from workers.training.orders import Bases, Order, Outcome, Progress
from workers.training.process import Training
from workers.training.recipes import Job, read_job

RECIPE = "recipe.toml"
_LOOK_S = 0.1
_TELL_S = 1.0

Trainer = Callable[[Order], Training]


def trainer(directory: Path, bases: Bases, start: Trainer = Training) -> Body:
    """The body of the train station; `start` begins the process that trains."""

    def train(work: Work[TrainingRequest]) -> Message:
        job = described(directory, work.message)
        try:
            card, outcome = _followed(work, start(Order(action="train", job=job, bases=bases)))
        except TrainingBroken as broken:
            # It goes on from its checkpoint, but not for ever: the job may be what breaks it.
            raise ModelUnavailable(str(broken), begun=True) from None
        return TrainingReport(
            adapter=card.name,
            sha256=card.sha256,
            seconds=card.seconds,
            scores=outcome.scores,
            **work.message.heirloom(),
        )

    return train


def described(directory: Path, request: TrainingRequest) -> Job:
    """The training of a folder that has a recipe and no adapter yet."""
    name = request.adapter
    check_name(name)
    if not (directory / name / RECIPE).is_file():
        raise TrainingDataError(f"there is no {name}/{RECIPE} on the train worker's shelf; an operator puts it there")
    if (directory / name / CARD).exists():
        raise AlreadyTrained(f"{name} is trained; put the next version's recipe and data into a folder of its own")
    return read_job(directory / name, rank=request.rank, epochs=request.epochs, seed=request.seed)


def _followed(work: Work[TrainingRequest], training: Training) -> tuple[Card, Outcome]:
    """Let the process train while the job is this worker's and nobody wants it to stop."""
    told, phase = 0.0, ""
    with training:
        for progress in training.progress(_LOOK_S):
            work.check()
            if progress and (progress.phase != phase or time.monotonic() - told > _TELL_S or _over(progress)):
                work.emit("progress", **progress.model_dump(exclude={"kind"}, exclude_none=True))
                told, phase = time.monotonic(), progress.phase
        outcome = training.outcome
    if outcome.card is None:
        raise TrainingBroken("the training process told no card")
    return outcome.card, outcome


def _over(progress: Progress) -> bool:
    return progress.done >= progress.total
