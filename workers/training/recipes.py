"""What to train: a folder's `recipe.toml` with its two sets of records."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from switchtower.models import Capability, Frozen
from workers.training.errors import TrainingDataError
from workers.training.metrics import METRICS
from workers.training.records import Record, read_records


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric; there are: {', '.join(METRICS)}")
    return name


class Recipe(Frozen):
    """How an adapter is trained and measured."""

    capabilities: tuple[Capability, ...] = (Capability.GENERAL,)
    system_prompt: str = Field(default="", max_length=4000)
    metric: Annotated[str, AfterValidator(_known_metric)] = "exact"
    rank: int = Field(default=8, ge=1, le=64)
    epochs: int = Field(default=4, ge=1, le=100)
    batch: int = Field(default=16, ge=1, le=256)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    seed: int = Field(default=20, ge=0)


class Job(Frozen):
    """One training: where the adapter goes, how it is made and of what."""

    folder: Path
    recipe: Recipe
    train: tuple[Record, ...]
    heldout: tuple[Record, ...]

    @property
    def name(self) -> str:
        return self.folder.name


def read_job(folder: Path, train: Path | None = None, heldout: Path | None = None, **changes: object) -> Job:
    """The training that a folder describes; files and values given here win over the folder's."""
    if train is not None and heldout is None:
        records = read_records(train)
        cut = max(1, len(records) // 5)
        kept, held = records[cut:], records[:cut]
    else:
        kept = read_records(train or folder / "data" / "train.jsonl")
        held = read_records(heldout or folder / "data" / "heldout.jsonl")
    if not kept:
        raise TrainingDataError(f"{train}: one record is too few; a fifth is held out for the evaluation")
    recipe = read_recipe(folder / "recipe.toml", changes)
    return Job(folder=folder, recipe=recipe, train=tuple(kept), heldout=tuple(held))


def read_recipe(file: Path, changes: dict[str, object]) -> Recipe:
    """The recipe in a file, or the default one, with changes."""
    try:
        written = tomllib.loads(file.read_text()) if file.exists() else {}
        given = {key: value for key, value in changes.items() if value is not None}
        return Recipe.model_validate(written | given)
    except tomllib.TOMLDecodeError as error:
        raise TrainingDataError(f"{file}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TrainingDataError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
