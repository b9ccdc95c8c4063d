"""What is done about a model that answers no more: noticed, its jobs handed back, its process ended to start again."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery.signals import worker_shutdown
from celery.utils.log import get_logger
from celery.worker import state

from switchtower.errors import BaseModelError, SwitchtowerError
from workers.shutdown import idle, until

if TYPE_CHECKING:
    from workers.engine.engine import Engine
    from workers.engine.loop import Loop
    from workers.runtime import Runtime

IDLE_S = 60.0
"""A model that has done nothing for so long proves that it still can."""

LEAVING_S = 0.15
"""By then the consumer has seen that it is to leave its queues."""

logger = get_logger(__name__)


def expect_health(engine: Engine, name: str) -> None:
    """Let the model answer one token; raises `BaseModelError` where it does not."""
    try:
        engine.health_check()
    except Exception as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, SwitchtowerError) else type(error).__name__
        raise BaseModelError(f"{name} cannot answer a single token, so it is not announced ({said})") from error


def trouble(loop: Loop, stuck_s: float) -> str:
    """Why the engine will not go on, or nothing."""
    if loop.died:
        return "the engine's thread has died"
    stuck = loop.meter.stuck_for()
    return f"a step of the model has taken {stuck:.0f} s" if stuck > stuck_s else ""


def give_up(runtime: Runtime, loop: Loop, why: str) -> None:
    """Hand every job back and end the process, so that its supervisor starts it again; does not return.

    The consumer leaves its queues first (`halt.stop`), or it would take the jobs that it hands back. A thread that
    hangs inside the model cannot be ended, and might hang the interpreter's own end; so that is skipped.
    """
    logger.critical("%s: its jobs are handed back, and the worker ends to be started again", why)
    end = time.monotonic() + runtime.settings.line.soft_shutdown_s
    worker_shutdown.connect(_end, weak=False)
    runtime.halt.stop()
    try:
        _hand_back(runtime, loop, end)
    finally:
        state.should_stop = os.EX_SOFTWARE  # Celery's loop closes its connection, which gives back what is still held
        time.sleep(max(runtime.settings.line.soft_shutdown_s / 2, end - time.monotonic()))
        _end()


def _hand_back(runtime: Runtime, loop: Loop, end: float) -> None:
    time.sleep(LEAVING_S)
    with suppress(RuntimeError):  # the thread has come back in this very moment, and hands them back itself
        loop.abandon()
    until(lambda: not runtime.keeper.count and idle(), end)


def _end(**_: Any) -> None:
    os._exit(os.EX_SOFTWARE)


class Checkup:
    """Says when a model should prove that it answers: after a minute without a step, and after a strange error."""

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self.suspect = False
        self._idle_s = idle_s
        self._steps = -1
        self._since = time.monotonic()

    def due(self, steps: int) -> bool:
        """Whether to check now; `steps` is how many the engine has done."""
        now = time.monotonic()
        if steps != self._steps:
            self._steps, self._since = steps, now
        if not self.suspect and now - self._since < self._idle_s:
            return False
        self.suspect, self._since = False, now
        return True
