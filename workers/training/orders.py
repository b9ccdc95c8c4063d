"""What the process that trains is told, and what it tells: one JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from switchtower.models import Frozen, Score
from workers.adapters.shelf import Card
from workers.training.recipes import Job


class Bases(Frozen):
    """Where the base model comes from."""

    cache: Path
    source: str | None = None


class Order(Frozen):
    """One piece of work for the process."""

    action: Literal["train", "evaluate", "measure"]
    job: Job
    bases: Bases


class Progress(Frozen):
    """How far a phase is."""

    kind: Literal["progress"] = "progress"
    phase: str
    done: int
    total: int
    loss: float | None = None


class Outcome(Frozen):
    """How it ended well: the card of what was trained, or what was measured."""

    kind: Literal["outcome"] = "outcome"
    card: Card | None = None
    scores: tuple[Score, ...] = ()
    controls: dict[str, float] = Field(default={})


class Failure(Frozen):
    """How it ended otherwise: the error's name and message."""

    kind: Literal["failure"] = "failure"
    error: str
    message: str


News = Progress | Outcome | Failure
NEWS: TypeAdapter[News] = TypeAdapter(Annotated[News, Field(discriminator="kind")])
