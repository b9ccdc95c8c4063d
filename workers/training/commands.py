"""`switchtower adapters`: train, evaluate and list the local adapters."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from switchtower.errors import SwitchtowerError

app = typer.Typer(help="Train, evaluate and list the local adapters.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The adapter's name: small letters, digits, hyphens.")]
Directory = Annotated[Path, typer.Option(help="Where the adapters live, one folder each.")]
Train = Annotated[Path | None, typer.Option(help='JSONL of {"prompt": ..., "answer": ...}; default: data/train.jsonl.')]
Heldout = Annotated[Path | None, typer.Option(help="JSONL to measure on; default: the folder's, or a fifth of --data.")]

ADAPTERS = Path(__file__).parents[2] / "adapters"
INTERRUPTED = 130


@app.command()
def train(
    name: Name,
    data: Train = None,
    heldout: Heldout = None,
    directory: Directory = ADAPTERS,
    system_prompt: Annotated[str | None, typer.Option(help="What the agent is told first.")] = None,
    metric: Annotated[str | None, typer.Option(help="exact, steps, filing, announcement or clarification.")] = None,
    rank: Annotated[int | None, typer.Option(help="The LoRA rank; 4 gives 2.4 MB.")] = None,
    epochs: Annotated[int | None, typer.Option(help="How often each record is seen.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed and data give the same adapter.")] = None,
) -> None:
    """Train a LoRA adapter in its own process and keep it if it beats the base model on the held-out records."""
    changes = {"system_prompt": system_prompt, "metric": metric, "rank": rank, "epochs": epochs, "seed": seed}
    job = _checked(lambda: _job(directory, name, data, heldout, changes))
    _in_own_process(_train, job, _cache())


@app.command()
def evaluate(name: Name, heldout: Heldout = None, directory: Directory = ADAPTERS) -> None:
    """Measure a trained adapter beside the base model on held-out records."""
    job = _checked(lambda: _measuring(directory, name, heldout))
    _in_own_process(_evaluate, job, _cache())


@app.command("list")
def list_(directory: Directory = ADAPTERS) -> None:
    """List the adapters with their measured scores; a broken one is listed with its reason."""
    from rich.console import Console

    from workers.training.report import shelf_table

    Console().print(shelf_table(directory))


@app.command()
def reproduce(directory: Directory = ADAPTERS) -> None:
    """Train every adapter that has a recipe, one after the other, and write the table of scores anew."""
    from workers.training.report import write_scores

    folders = sorted(recipe.parent for recipe in directory.glob("*/recipe.toml"))
    failed = [folder.name for folder in folders if not _reproduced(folder)]
    write_scores(directory)
    if failed:
        typer.echo(f"not better than the base, or failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def _reproduced(folder: Path) -> bool:
    try:
        _in_own_process(_train, _checked(lambda: _job(folder.parent, folder.name, None, None, {})), _cache())
    except typer.Exit as end:
        if end.exit_code == INTERRUPTED:
            raise
        return False
    return True


def _job(directory: Path, name: str, train: Path | None, heldout: Path | None, changes: dict[str, Any]) -> Any:
    from workers.adapters.shelf import check_name
    from workers.training.recipes import read_job

    check_name(name)
    return read_job(directory / name, train, heldout, **changes)


def _measuring(directory: Path, name: str, heldout: Path | None) -> Any:
    """What the adapter was trained for stands on its card, whether or not there is a recipe."""
    from workers.adapters.shelf import AdapterShelf

    card = AdapterShelf(directory).card(name)
    changes = {"system_prompt": card.system_prompt, "metric": card.scores[0].metric if card.scores else None}
    return _job(directory, name, heldout, heldout, changes)


def _cache() -> Path:
    from switchtower.settings import settings

    return settings().local.cache_directory


def _checked(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except SwitchtowerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _in_own_process(work: Callable[..., None], *args: Any) -> None:
    """Run the work in a fresh interpreter, which leaves this one without torch and its memory."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    process = get_context("spawn").Process(target=_contained, args=(work, *args))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()
        raise typer.Exit(INTERRUPTED) from None
    if process.exitcode:
        raise typer.Exit(process.exitcode if process.exitcode > 0 else 1)


def _contained(work: Callable[..., None], *args: Any) -> None:
    try:
        work(*args)
    except KeyboardInterrupt:
        typer.echo("stopped; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except SwitchtowerError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


def _train(job: Any, cache: Path) -> None:
    from workers.training.report import score_table, steps
    from workers.training.trainer import train_adapter

    with steps(job.name) as (console, step):
        card = train_adapter(job, cache, step)
        console.print(score_table(card.scores))
        console.print(f"{job.folder}: trained in {card.seconds:.0f} s")


def _evaluate(job: Any, cache: Path) -> None:
    from workers.training.report import score_table, steps
    from workers.training.trainer import evaluate_adapter

    with steps(job.name) as (console, step):
        console.print(score_table(evaluate_adapter(job, cache, step)))


if __name__ == "__main__":
    app()
