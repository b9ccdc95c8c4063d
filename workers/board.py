"""The board of a running demo: where each job stands, what it is writing, and what it took in the end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from switchtower.jobs import Event, State
from switchtower.models import Usage
from switchtower.queues import GENERATE_LOCAL, REVIEW, ROUTE, SCREEN

STATIONS = {SCREEN: "screen", ROUTE: "route", GENERATE_LOCAL: "generate", REVIEW: "review"}
_COLOURS = {State.DONE: "green", State.REFUSED: "red", State.FAILED: "red", State.RUNNING: "cyan"}


@dataclass
class Card:
    """What is known of one job."""

    job: str
    prompt: str
    state: State = State.QUEUED
    station: str = SCREEN
    started: int = 0
    model: str = ""
    reason: str = ""
    text: str = ""
    handed_back: int = 0
    message: str = ""
    took: dict[str, int] = field(default_factory=dict)

    def feed(self, event: Event) -> None:
        """Take one event in."""
        if event.begins_text:
            self.text = ""
        if event.kind == "token":
            self.text += event.text
        elif event.state:
            self._move(event, event.state)

    def _move(self, event: Event, state: State) -> None:
        if self.state is State.RUNNING and state is not State.RUNNING:
            self.took[self.station] = self.took.get(self.station, 0) + event.at - self.started
        if state is State.RUNNING:
            self.started = event.at
        self.state = state
        self.station = event.data.get("station", self.station)
        self.message = event.data.get("message", self.message)
        self.handed_back += "handed_back" in event.data
        if "route" in event.data:
            chosen = json.loads(event.data["route"])
            self.model, self.reason = chosen["adapter"] or chosen["model"], chosen["reason"]

    def row(self, usage: Usage | None) -> list[RenderableType]:
        """The job's line in the closing table; only a job with a result has its usage."""
        why = self.reason.partition(": ")[2].partition(";")[0] or self.message
        return [
            self.job[-6:],
            self.prompt[:28],
            Text(self.state, _COLOURS.get(self.state, "white")),
            self.model,
            Text(why, "dim"),
            "" if usage is None else str(usage.completion_tokens),
            "/".join(str(self.took.get(wire, "-")) for wire in STATIONS),
            "" if usage is None else f"{usage.cost:.1e}",
        ]

    def track(self) -> Text:
        """One lamp per station, and the name of the one where the job is."""
        if self.state.terminal:
            return Text(self.state, _COLOURS.get(self.state, "white"))
        row = Text(no_wrap=True)
        for wire in STATIONS:
            here = wire == self.station
            lamp = "▶" if here and self.state is State.RUNNING else "●" if here or wire in self.took else "○"
            row.append(lamp, "bold yellow" if here else "green" if wire in self.took else "dim")
        return row.append(f" {STATIONS.get(self.station, '')}", "yellow")


@dataclass
class Board:
    """All jobs of a run."""

    cards: dict[str, Card] = field(default_factory=dict)
    locked: str = ""

    def add(self, jobs: Iterable[str], prompts: Iterable[str]) -> None:
        self.cards |= {job: Card(job, prompt) for job, prompt in zip(jobs, prompts, strict=True)}

    def ended(self) -> int:
        return sum(card.state.terminal for card in self.cards.values())

    def view(self) -> RenderableType:
        """The live picture."""
        table = Table(expand=True, box=None, padding=(0, 1, 0, 0))
        for name in ("job", "line", "answered by"):
            table.add_column(name, no_wrap=True)
        for name in ("request", "text"):
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        for card in self.cards.values():
            written = Text(card.text.replace("\n", " ")[-60:], "italic")
            table.add_row(card.job[-6:], card.track(), card.model, card.prompt, written)
        flag = (
            Panel(self.locked, style="bold white on red") if self.locked else Panel("the line is open", style="green")
        )
        return Group(flag, table)

    def summary(self, usages: dict[str, Usage]) -> Table:
        """The closing table; times in milliseconds, costs in US dollars by job."""
        table = Table(title="what became of each job", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for name, width in (("job", 6), ("request", 14), ("state", 7), ("answered by", 24)):
            table.add_column(name, no_wrap=True, overflow="ellipsis", min_width=width)
        table.add_column("why", overflow="fold", min_width=14)
        for name, width in (("tokens", 6), ("ms at each station", 16), ("cost $", 7)):
            table.add_column(name, justify="right", min_width=width)
        for card in self.cards.values():
            table.add_row(*card.row(usages.get(card.job)))
        return table
