"""`switchtower demo`: the main job, from a text file of mixed requests to a table of answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.live import Live

from security.lockdown import Status, status, throwaway
from security.lockdown.heads import heads_of
from switchtower.client import Client
from switchtower.errors import ConfigurationError, ReleaseRefused, ResultTimeout
from switchtower.jobs import AUDIT, Event, State, events_key
from switchtower.messages import UserRequest
from switchtower.models import Sampling
from switchtower.settings import settings
from workers.board import Board
from workers.system import System, system

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_LOOK_S = 2.0

console = Console(width=None if Console().is_terminal else 150)


def run_demo(
    file: Annotated[Path, typer.Option(help="Requests, one per line; `#` starts a comment.")] = EXAMPLES
    / "requests.txt",
    max_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds for all jobs together.")] = 600,
) -> None:
    """Start the embedded system, run mixed requests through the line, halt it, release it, and stop."""
    prompts = _read(file)
    config = settings()
    console.rule("[bold]Switchtower[/]: screen → route → generate → review")
    with system(config, config.home / "demo", console=console) as running, Client(running.settings) as client:
        _Demo(client, running, max_tokens, time.monotonic() + timeout).play(prompts)


def _read(file: Path) -> list[str]:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]


class _Demo:
    """One showing: all jobs go in, a critical text halts the line, the operator releases it, the rest is finished."""

    def __init__(self, client: Client, running: System, max_tokens: int, until: float) -> None:
        self._client = client
        self._running = running
        self._sampling = Sampling(max_tokens=max_tokens)
        self._until = until
        self._board = Board()
        self._marks: dict[str, str] = {}
        self._live: Live | None = None

    def play(self, prompts: list[str]) -> None:
        with self._show():
            if self._lockdown().locked:
                self._release("a lockdown of the last time")
            self._submit(prompts)
            self._follow(lambda: self._board.ended() >= max(1, len(prompts) // 3))
            self._halt()
            self._follow(lambda: self._board.ended() == len(self._board.cards))
        self._report()

    def _submit(self, prompts: list[str]) -> None:
        requests = [UserRequest(prompt=prompt, sampling=self._sampling) for prompt in prompts]
        jobs = self._client.submit_many(requests)
        self._board.add(jobs, prompts)
        self._marks |= dict.fromkeys(jobs, "0")

    def _halt(self) -> None:
        self._submit(_read(EXAMPLES / "critical.txt"))
        self._follow(lambda: self._lockdown().locked)
        before = self._board.ended()
        found = self._lockdown()
        waiting = len(self._board.cards) - before
        self._board.locked = f"LOCKED DOWN by {found.by}: {found.reason}\n{waiting} jobs wait; reads go on"
        self._note(f"[bold red]locked down[/] by {found.by}: {found.reason}; {waiting} jobs wait")
        looked = time.monotonic() + _LOOK_S
        self._follow(lambda: time.monotonic() > looked)
        self._release("the demo's operator has looked")
        self._board.locked = ""
        self._note("[bold green]released[/] by the operator (a throw-away one); the waiting jobs go on")

    def _release(self, reason: str) -> None:
        """As an operator would: password, one-time code and the audit's head, judged by the controller."""
        config = self._running.settings
        verdict = throwaway.release(self._client.ledger.redis, config, reason, heads_of(config))
        if verdict.outcome != "released":
            raise ReleaseRefused(verdict.text)

    def _lockdown(self) -> Status:
        return status(self._client.ledger.redis, self._client.ring)

    def _follow(self, enough: Callable[[], bool]) -> None:
        while not enough():
            if time.monotonic() > self._until:
                raise ResultTimeout("the demo has not finished in time; the logs tell why")
            streams = {events_key(job): mark for job, mark in self._marks.items()}
            found: Any = self._client.ledger.redis.xread(cast(Any, streams), block=100)
            for name, entries in found:
                job = name.split(":")[2]
                for mark, fields in entries:
                    self._feed(job, Event.read(mark, fields))
            if self._live:
                self._live.update(self._board.view())

    def _feed(self, job: str, event: Event) -> None:
        self._marks[job] = event.mark
        card = self._board.cards[job]
        card.feed(event)
        if event.state and event.state.terminal:
            said = card.message if event.state is not State.DONE else f"{card.model}: {card.text.strip()[:90]!r}"
            self._note(f"{job[-6:]} [bold]{event.state}[/] {said}")

    def _note(self, line: str) -> None:
        """On a terminal the board shows it; elsewhere each event is a line of its own."""
        if self._live is None:
            console.print(line, highlight=False)

    @contextmanager
    def _show(self) -> Iterator[None]:
        if not console.is_terminal:
            yield
            return
        with Live(self._board.view(), console=console, refresh_per_second=10, transient=True) as self._live:
            yield
        self._live = None

    def _report(self) -> None:
        done = [card.job for card in self._board.cards.values() if card.state is State.DONE]
        results = {job: self._client.result(job) for job in done}
        for job, result in results.items():
            console.print(f"[dim]{self._board.cards[job].prompt}[/]\n  [cyan]{result.model}[/] {result.text.strip()}")
        console.print(self._board.summary({job: result.usage for job, result in results.items()}))
        back = sum(card.handed_back for card in self._board.cards.values())
        refused = sum(card.state is State.REFUSED for card in self._board.cards.values())
        console.print(f"{len(done)} answered, {refused} refused, {back} steps handed back by the lockdown.")
        self._prove()

    def _prove(self) -> None:
        """Walk the audit trail once the auditor has written all that happened."""
        from security.audit.heads import Mirror
        from security.audit.proof import Walk
        from security.audit.queries import Archive

        self._follow(lambda: not self._client.ledger.redis.xlen(AUDIT))
        config, ring = self._running.settings, self._client.ring
        walk = Walk(ring, Mirror.of(config).signed())
        with Archive(config.audit.reader_url) as archive:
            rows = sum(1 for _ in walk.along(archive.all()))
        said = f"[red]row {walk.flaw.seq}: {walk.flaw.what}[/]" if walk.flaw else "each follows from the one before"
        console.print(f"The audit trail has {rows} rows; {said}. Look: switchtower audit tail")
