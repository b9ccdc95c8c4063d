"""What `switchtower adapters` shows: progress, scores, the shelf."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from switchtower.errors import AdapterError
from switchtower.models import Score
from workers.adapters.shelf import WEIGHTS, AdapterShelf, Card
from workers.training.trainer import Step

BEGIN, END = "<!-- scores: begin -->", "<!-- scores: end -->"
COLUMNS = ("adapter", "metric", "weights", "base", "adapter", "held-out", "trained in", "size")


@contextmanager
def steps(title: str) -> Iterator[tuple[Console, Step]]:
    """A progress bar per step, under the adapter's name."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:

        def step(name: str, total: int) -> Callable[[float], None]:
            task = progress.add_task(f"{title}: {name}", total=total)
            return lambda ticks: progress.advance(task, ticks)

        yield progress.console, step


def score_table(scores: tuple[Score, ...]) -> Table:
    """Each measurement beside the base model's."""
    table = Table("metric", "weights", "base", "adapter", "held-out records")
    for score in scores:
        table.add_row(score.metric, score.weights, f"{score.base:.3f}", f"{score.adapter:.3f}", str(score.heldout))
    return table


def shelf_table(directory: Path) -> Table:
    """Every adapter on the shelf, or why it cannot be used."""
    shelf, table = AdapterShelf(directory), Table("adapter", "capabilities", "rank", "MB", "base -> adapter")
    for name in shelf.names():
        try:
            card = shelf.card(name)
            table.add_row(name, ", ".join(card.capabilities), str(card.rank), _size(directory, name), _change(card))
        except AdapterError as error:
            table.add_row(name, "-", "-", "-", f"[red]{error}[/red]")
    return table


def write_scores(directory: Path) -> None:
    """Write the measured scores between the two marks in the directory's README."""
    readme = directory / "README.md"
    text = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{_markdown(AdapterShelf(directory))}{END}{rest.partition(END)[2]}")


def _markdown(shelf: AdapterShelf) -> str:
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    cards = map(shelf.card, shelf.names())
    return head + "".join(_row(shelf, card, score) for card in cards for score in card.scores)


def _row(shelf: AdapterShelf, card: Card, score: Score) -> str:
    before, after = f"{score.base:.3f}", f"**{score.adapter:.3f}**"
    cells = (card.name, score.metric, score.weights, before, after, str(score.heldout))
    return f"| {' | '.join(cells)} | {card.seconds:.0f} s | {_size(shelf.directory, card.name)} MB |\n"


def _size(directory: Path, name: str) -> str:
    return f"{(directory / name / WEIGHTS).stat().st_size / 1e6:.2f}"


def _change(card: Card) -> str:
    return "; ".join(f"{score.weights} {score.base:.2f} -> {score.adapter:.2f}" for score in card.scores)
