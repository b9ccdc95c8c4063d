"""A training in a process of its own, seen from the process that wants it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from switchtower.errors import JobFailed, SwitchtowerError
from workers.parent import VARIABLE
from workers.training import errors as training_errors
from workers.training.orders import NEWS, Failure, News, Order, Outcome, Progress

_LEAVE_S = 3
"""Publishing an adapter takes less; whoever trains otherwise can be killed."""


class Training:
    """Runs an order; leaving the block ends the process, whatever it was doing."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._news: queue.Queue[News | None] = queue.Queue()
        self._process: subprocess.Popen[str]
        self._outcome: Outcome | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.training.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ, VARIABLE: str(os.getpid())},
        )
        threading.Thread(target=self._converse, name="training", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def outcome(self) -> Outcome:
        """What came of it, once the progress has ended."""
        if self._outcome is None:
            raise training_errors.TrainingBroken(f"the training process ended with {self._process.wait()}")
        return self._outcome

    def progress(self, every_s: float = 0.2) -> Iterator[Progress | None]:
        """Everything that the process tells, and nothing now and then, so that the caller can look around.

        Raises what ended the process; `TrainingBroken` where nobody knows what it was.
        """
        while True:
            try:
                news = self._news.get(timeout=every_s)
            except queue.Empty:
                yield None
                continue
            match news:
                case Progress():
                    yield news
                case Failure():
                    raise _named(news)
                case Outcome():
                    self._outcome = news
                case None:
                    _ = self.outcome
                    return

    def _converse(self) -> None:
        """Hand over the order and read the news to their end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError
        try:
            with stdin:
                stdin.write(self._order.model_dump_json())
        except BrokenPipeError:
            pass  # it died at once; what it was follows from its exit
        with stdout:
            for line in stdout:
                self._read(line)
        self._news.put(None)

    def _read(self, line: str) -> None:
        try:
            self._news.put(NEWS.validate_json(line))
        except ValidationError:
            return  # half a line: it was killed while it wrote


def _named(failure: Failure) -> SwitchtowerError:
    """The error that the process named, with its message."""
    known: dict[str, Any] = {one.__name__: one for one in _descendants(SwitchtowerError)}
    kind = known.get(failure.error, JobFailed)
    error: SwitchtowerError = kind(failure.message)
    return error


def _descendants(kind: type[SwitchtowerError]) -> Iterator[type[SwitchtowerError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
