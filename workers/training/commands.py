"""`switchtower adapters`: train, evaluate, deploy, roll back and list the local adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from switchtower.errors import SwitchtowerError
from workers.adapters import SHIPPED

app = typer.Typer(help="Train, evaluate, deploy and list the local adapters.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The adapter's name: small letters, digits, hyphens.")]
Directory = Annotated[
    Path | None, typer.Option(help="Where the adapters live, one folder each; the worker's own if not given.")
]
Train = Annotated[Path | None, typer.Option(help='JSONL of {"prompt": ..., "answer": ...}; default: data/train.jsonl.')]
Heldout = Annotated[Path | None, typer.Option(help="JSONL to measure on; default: the folder's, or a fifth of --data.")]

Changes = Mapping[str, object]

INTERRUPTED = 130


@app.command()
def train(
    name: Name,
    data: Train = None,
    heldout: Heldout = None,
    directory: Directory = None,
    system_prompt: Annotated[str | None, typer.Option(help="What the agent is told first.")] = None,
    metric: Annotated[str | None, typer.Option(help="exact, steps, filing, announcement or clarification.")] = None,
    rank: Annotated[int | None, typer.Option(help="The LoRA rank; 8 gives 5 MB.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often each record is seen.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed and data give the same adapter.")] = None,
    queued: Annotated[bool, typer.Option("--queue", help="Let a train worker do it, on its own shelf.")] = False,
) -> None:
    """Train a LoRA adapter and keep it if it beats the base model on the held-out records.

    A training that was stopped goes on from its last checkpoint when it is started again.
    """
    numbers = {"rank": rank, "epochs": epochs, "seed": seed}
    if queued:
        if data or heldout or directory or system_prompt is not None or metric is not None:
            raise typer.BadParameter("only --rank, --epochs and --seed go with --queue; the rest is in the folder")
        _checked(_train_queued, name, rank, epochs, seed)
    else:
        changes = {"system_prompt": system_prompt, "metric": metric, **numbers}
        _checked(_train_here, _directory(directory), name, data, heldout, changes)


@app.command()
def evaluate(name: Name, heldout: Heldout = None, directory: Directory = None) -> None:
    """Measure a trained adapter beside the base model on held-out records."""
    _checked(_evaluate, _directory(directory), name, heldout)


@app.command()
def deploy(
    name: Name,
    share: Annotated[
        float | None, typer.Option(min=0.001, max=0.999, help="Only this share of the family's traffic, for a trial.")
    ] = None,
    heldout: Heldout = None,
    force: Annotated[bool, typer.Option(help="Deploy it unmeasured; --reason must say why.")] = False,
    reason: Annotated[str, typer.Option(help="Stands in the family's history.")] = "",
    directory: Directory = None,
) -> None:
    """Make a version live if it beats the live one of its family, both measured now on the same records."""
    if force and not reason.strip():
        raise typer.BadParameter("--force needs a --reason")
    _checked(_deploy, _directory(directory), name, share, heldout, force, reason)


@app.command()
def rollback(
    family: Annotated[str, typer.Argument(help="The family, or any of its versions.")],
    reason: Annotated[str, typer.Option(help="Stands in the family's history.")] = "",
    directory: Directory = None,
) -> None:
    """Return to what served a family before its last deployment."""
    _checked(_rollback, _directory(directory), family, reason)


@app.command("list")
def list_(directory: Directory = None) -> None:
    """List the adapters with their scores and who is live; a broken one is listed with its reason."""
    from rich.console import Console

    from workers.training.report import shelf_table

    _checked(lambda place: Console().print(shelf_table(place)), _directory(directory))


@app.command()
def reproduce(directory: Directory = None) -> None:
    """Train every adapter that has a recipe, one after the other, and write the table of scores anew."""
    from workers.training.report import write_scores

    place = _directory(directory)
    folders = sorted(recipe.parent for recipe in place.glob("*/recipe.toml"))
    failed = [folder.name for folder in folders if not _reproduced(folder)]
    write_scores(place)
    if failed:
        typer.echo(f"not better than the base, or failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _reproduced(folder: Path) -> bool:
    try:
        _train_here(folder.parent, folder.name, None, None, {})
    except SwitchtowerError as error:
        typer.echo(str(error), err=True)
        return False
    return True


def _train_here(directory: Path, name: str, data: Path | None, heldout: Path | None, changes: Changes) -> None:
    from workers.training.gate import described, order
    from workers.training.report import Screen

    outcome = Screen(name).follow(order("train", described(directory, name, data, heldout, **changes)))
    typer.echo(f"{directory / name}: trained in {outcome.card.seconds if outcome.card else 0:.0f} s")


def _train_queued(name: str, rank: int | None, epochs: int | None, seed: int | None) -> None:
    from switchtower.client import Client
    from switchtower.messages import TrainingRequest
    from workers.training.report import Screen

    with Client() as client:
        job = client.train(TrainingRequest(adapter=name, rank=rank, epochs=epochs, seed=seed))
        typer.echo(f"{job}; it goes on if you leave: switchtower status {job}, switchtower cancel {job}", err=True)
        Screen(name).watch(client, job)


def _evaluate(directory: Path, name: str, heldout: Path | None) -> None:
    from workers.training.gate import order, published
    from workers.training.report import Screen

    Screen(name).follow(order("evaluate", published(directory, name, heldout)))


def _deploy(directory: Path, name: str, share: float | None, heldout: Path | None, force: bool, reason: str) -> None:
    from workers.adapters.deployments import Deployments, family_of
    from workers.training.gate import compare, usable

    names, deployments = usable(directory, name), Deployments(directory)
    live = deployments.serving(family_of(name)[0], names).live
    scores = {} if force or live == name else compare(directory, name, live, heldout)
    serving = deployments.deploy(name, names, share, f"forced: {reason}" if force else reason, scores)
    typer.echo(", ".join(f"{version}: {part:.1%}" for version, part in serving.shares().items()))


def _rollback(directory: Path, family: str, reason: str) -> None:
    from workers.adapters.deployments import Deployments, family_of
    from workers.training.gate import shelf_in

    serving = Deployments(directory).rollback(family_of(family)[0], shelf_in(directory).names(), reason)
    typer.echo(", ".join(f"{version}: {part:.1%}" for version, part in serving.shares().items()))


def _checked(work: Callable[..., None], *args: object) -> None:
    """Run the work; an error of ours is one line, and Ctrl-C leaves the checkpoint behind."""
    try:
        work(*args)
    except SwitchtowerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _directory(given: Path | None) -> Path:
    from switchtower.settings import settings

    return given or settings().local.adapter_directory or SHIPPED


if __name__ == "__main__":
    app()
