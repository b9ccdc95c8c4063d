"""What `switchtower adapters` shows: progress, scores, the shelf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from switchtower.client import Client
from switchtower.errors import AdapterError
from switchtower.messages import TrainingReport
from switchtower.models import Score
from workers.adapters.deployments import Deployments, family_of, serving
from workers.adapters.shelf import WEIGHTS, AdapterShelf, Card
from workers.training.gate import shelf_in
from workers.training.orders import Order, Outcome
from workers.training.process import Training

BEGIN, END = "<!-- scores: begin -->", "<!-- scores: end -->"
COLUMNS = ("adapter", "metric", "weights", "base", "adapter", "held-out", "trained in", "size")


class Screen:
    """Shows a training under the adapter's name: a bar for each phase, the scores at its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = Console()
        self._bars: dict[str, TaskID] = {}

    def follow(self, order: Order) -> Outcome:
        """Run an order in a process of its own."""
        with Training(order) as training, self._drawn() as drawn:
            for progress in training.progress():
                if progress:
                    self._show(drawn, progress.phase, progress.done, progress.total)
            outcome = training.outcome
        self._console.print(score_table(outcome.scores, outcome.controls))
        return outcome

    def watch(self, client: Client, job: str) -> TrainingReport:
        """Show the events of a queued training; raises what ended it."""
        with self._drawn() as drawn:
            for event in client.events(job):
                if event.kind == "progress":
                    self._show(drawn, event.data["phase"], event.data["done"], event.data["total"])
        report = client.report(job)
        self._console.print(score_table(report.scores, {}))
        return report

    def _drawn(self) -> Bars:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        return Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)

    def _show(self, drawn: Bars, phase: str, done: int, total: int) -> None:
        if phase not in self._bars:
            self._bars[phase] = drawn.add_task(f"{self._name}: {phase}", total=total)
        drawn.update(self._bars[phase], completed=done)


def score_table(scores: tuple[Score, ...], controls: Mapping[str, float]) -> Table:
    """Each measurement beside the base model's, and what the controls reach."""
    table = Table("metric", "weights", "base", "adapter", "held-out records")
    for score in scores:
        table.add_row(score.metric, score.weights, f"{score.base:.3f}", f"{score.adapter:.3f}", str(score.heldout))
    for name, reached in controls.items():
        table.add_row(name, "bf16", f"{reached:.3f}", "-", "")
    return table


def shelf_table(directory: Path) -> Table:
    """Every adapter on the shelf, or why it cannot be used."""
    shelf, table = shelf_in(directory), Table("adapter", "serves", "capabilities", "rank", "MB", "base -> adapter")
    shares = _shares(directory, shelf.names())
    for name in shelf.names():
        try:
            card = shelf.card(name)
            table.add_row(
                name, shares[name], ", ".join(card.capabilities), str(card.rank), _size(directory, name), _change(card)
            )
        except AdapterError as error:
            table.add_row(name, "-", "-", "-", "-", f"[red]{error}[/red]")
    return table


def _shares(directory: Path, names: list[str]) -> dict[str, str]:
    """How much of its family's traffic each adapter gets."""
    known, shares = Deployments(directory).read(), dict.fromkeys(names, 0.0)
    for family in {family_of(name)[0] for name in names}:
        shares |= serving(known.get(family), family, names).shares()
    return {name: f"{share:.0%}" if share else "by name" for name, share in shares.items()}


def write_scores(directory: Path) -> None:
    """Write the measured scores between the two marks in the directory's README."""
    readme = directory / "README.md"
    text = readme.read_text() if readme.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{_markdown(shelf_in(directory))}{END}{rest.partition(END)[2]}")


def _markdown(shelf: AdapterShelf) -> str:
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    cards = list(map(shelf.card, shelf.names()))
    rows = "".join(_row(shelf, card, score) for card in cards for score in card.scores)
    return head + rows + "".join(map(_beaten, cards))


def _row(shelf: AdapterShelf, card: Card, score: Score) -> str:
    before, after = f"{score.base:.3f}", f"**{score.adapter:.3f}**"
    cells = (card.name, score.metric, score.weights, before, after, str(score.heldout))
    return f"| {' | '.join(cells)} | {card.seconds:.0f} s | {_size(shelf.directory, card.name)} MB |\n"


def _beaten(card: Card) -> str:
    """What an adapter's controls reach, as a sentence under the table."""
    if not card.controls:
        return ""
    told = ", ".join(f"{reached:.3f} ({name})" for name, reached in card.controls.items())
    return f"\nControls of {card.name}, on the same held-out records: {told}.\n"


def _size(directory: Path, name: str) -> str:
    return f"{(directory / name / WEIGHTS).stat().st_size / 1e6:.2f}"


def _change(card: Card) -> str:
    return "; ".join(f"{score.weights} {score.base:.2f} -> {score.adapter:.2f}" for score in card.scores)
