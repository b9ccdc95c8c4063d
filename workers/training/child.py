"""The process that trains: reads one order, tells its progress line by line, and ends.

    python -m workers.training.child  < order  > news

Only this process loads torch and a model. It may be killed at any moment: the trainer's checkpoint stays behind.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TextIO

from switchtower.errors import SwitchtowerError
from workers.parent import end_with_parent
from workers.training.orders import Failure, News, Order, Outcome, Progress

_EVERY_S = 0.2


class Teller:
    """Writes news, progress at most five times a second; the last of a phase always."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._told = 0.0

    def tell(self, news: News) -> None:
        """Write one line."""
        self._out.write(news.model_dump_json() + "\n")
        self._out.flush()

    def progress(self, phase: str, done: int, total: int, loss: float | None = None) -> None:
        """Tell how far a phase is, unless it was told a moment ago."""
        if done < total and time.monotonic() - self._told < _EVERY_S:
            return
        self._told = time.monotonic()
        self.tell(Progress(phase=phase, done=done, total=total, loss=loss))


def main() -> None:
    """Do what the order says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    end_with_parent()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no news
    teller = Teller(out)
    try:
        teller.tell(_done(Order.model_validate_json(sys.stdin.read()), teller))
    except SwitchtowerError as error:
        teller.tell(Failure(error=type(error).__name__, message=str(error)))


def _done(order: Order, teller: Teller) -> Outcome:
    from workers.training import trainer

    actions = {"train": trainer.train, "evaluate": trainer.evaluate, "measure": trainer.measure}
    return actions[order.action](order.job, order.bases, teller.progress)


if __name__ == "__main__":
    main()
