"""What is trained, measured and compared: jobs from folders, and the gate before a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from workers.adapters.shelf import AdapterShelf, check_name
from workers.models.base import NAME
from workers.models.source import resolve
from workers.training.errors import NotBetterThanLive
from workers.training.orders import Bases, Order, Outcome
from workers.training.process import Training
from workers.training.recipes import Job, read_job


def order(action: Literal["train", "evaluate", "measure"], job: Job) -> Order:
    """The order for a job on the base model that the settings name."""
    from switchtower.settings import settings

    local = settings().local
    return Order(action=action, job=job, bases=Bases(cache=local.cache_directory, source=local.base_model_path))


def shelf_in(directory: Path) -> AdapterShelf:
    """The shelf for the base model that the settings name."""
    from switchtower.settings import settings

    local = settings().local
    if local.base_model_path in (None, NAME):
        return AdapterShelf(directory)
    return AdapterShelf(directory, resolve(local.cache_directory, local.base_model_path).name)


def described(
    directory: Path, name: str, train: Path | None = None, heldout: Path | None = None, **changes: object
) -> Job:
    """The training that a folder describes."""
    check_name(name)
    return read_job(directory / name, train, heldout, **changes)


def published(directory: Path, name: str, heldout: Path | None = None) -> Job:
    """What an adapter was trained for stands on its card, whether or not there is a recipe."""
    check_name(name)
    card = shelf_in(directory).card(name)
    changes = {"system_prompt": card.system_prompt, "metric": card.scores[0].metric if card.scores else None}
    own = directory / name / "data" / "train.jsonl"
    return described(directory, name, None if own.exists() else heldout, heldout, **changes)


def usable(directory: Path, name: str) -> list[str]:
    """The names on the shelf, this one among them with a sound card."""
    shelf = shelf_in(directory)
    shelf.card(name)
    return shelf.names()


def compare(directory: Path, name: str, live: str, heldout: Path | None = None) -> dict[str, float]:
    """The scores of a version that beats the live one on the same records; raises `NotBetterThanLive`."""
    candidate = published(directory, name, heldout)
    incumbent = published(directory, live, heldout or directory / name / "data" / "heldout.jsonl")
    metric = incumbent.recipe.model_copy(update={"metric": candidate.recipe.metric})
    found = _measured(candidate)
    beaten = _measured(incumbent.model_copy(update={"recipe": metric, "heldout": candidate.heldout}))
    told = ", ".join(f"{form}: {name} {score}, {live} {beaten[form]}" for form, score in found.items())
    if any(score <= beaten[form] for form, score in found.items()):
        raise NotBetterThanLive(f"{name} does not beat {live} ({told}); --force with a --reason deploys it anyway")
    both = {name: found, live: beaten}
    return {f"{version} {form}": score for version, scores in both.items() for form, score in scores.items()}


def _measured(job: Job) -> dict[str, float]:
    with Training(order("measure", job)) as training:
        for _ in training.progress():
            pass
        outcome: Outcome = training.outcome
    return {score.weights: score.adapter for score in outcome.scores}
