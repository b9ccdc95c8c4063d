"""How far a long job on a base model is: silent, as lines, or as bars on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

_COUNT = re.compile(r"(\d+)/(\d+)")


class Progress:
    """Hears of every step and how far it is; this one keeps silent."""

    def begin(self, step: str) -> None:
        """A step begins, and the one before it is over."""

    def advance(self, done: int, total: int) -> None:
        """So much of the current step is done."""


class Lines(Progress):
    """One line for each step."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def begin(self, step: str) -> None:
        """Say which step begins."""
        self._say(step)


class Bars(Progress):
    """One bar for each step, plain lines where no terminal draws bars."""

    def __init__(self, console: Console) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
        self._bars = RichProgress(*columns, console=console)
        self._console = console
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        if self._console.is_terminal:
            self._bars.stop()

    def begin(self, step: str) -> None:
        """Start the step's bar."""
        self._finish()
        if self._console.is_terminal:
            self._task = self._bars.add_task(step, total=None)
        else:
            self._console.print(step, soft_wrap=True)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def _finish(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, total=1, completed=1)
            self._task = None


class Overheard(io.StringIO):
    """Takes the place of stderr under a reader that draws a bar of its own, and hands its counts on."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def write(self, text: str) -> int:
        """Read `done/total` out of what was drawn."""
        if found := _COUNT.search(text):
            self._progress.advance(int(found[1]), int(found[2]))
        return len(text)
