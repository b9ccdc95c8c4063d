"""A training that a model of a few kilobytes can win: two prompts, an answer of one letter each."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.tiny import write_model
from workers.training.orders import Bases
from workers.training.recipes import Job, Recipe
from workers.training.records import Record

RECIPE = Recipe(rank=4, epochs=6, batch=4, learning_rate=2e-2, seed=3)
RECORDS = tuple(Record(prompt=word, answer=word[0]) for _ in range(12) for word in ("day", "night"))
STEPS = 36
LONG = {"epochs": 90}
"""So long that a test can stop it at leisure."""


def tiny_bases(home: Path) -> Bases:
    """A base model of random weights."""
    return Bases(cache=home / "cache", source=str(write_model(home / "tiny")))


def job(folder: Path, **recipe: object) -> Job:
    """The training, with another recipe where a test wants it."""
    return Job(folder=folder, recipe=RECIPE.model_copy(update=recipe), train=RECORDS, heldout=RECORDS[-8:])


def put_folder(folder: Path, **recipe: object) -> Path:
    """The same as an operator puts it on the shelf: a recipe and its data."""
    made = job(folder, **recipe)
    (folder / "data").mkdir(parents=True)
    numbers = made.recipe.model_dump(include={"rank", "epochs", "batch", "learning_rate", "seed"})
    (folder / "recipe.toml").write_text("".join(f"{name} = {value}\n" for name, value in numbers.items()))
    for split, records in (("train", made.train), ("heldout", made.heldout)):
        lines = [json.dumps({"prompt": one.prompt, "answer": one.answer}) for one in records]
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    return folder
