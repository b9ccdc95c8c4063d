"""A worker that leaves in good order: running steps may finish for a while, then hand themselves back."""

from __future__ import annotations

import time
from collections.abc import Callable

from celery.apps.worker import Worker
from celery.worker import state

from workers.runtime import Runtime

_LAST_CALL = 0.7
_LOOK_S = 0.05


class OrderlyWorker(Worker):  # type: ignore[misc]
    """Celery's worker, whose soft shutdown ends with its last step and leaves none to be torn off.

    Celery's own sleeps through the whole of `worker_soft_shutdown_timeout`, and then fails to cancel what a
    threads pool still runs (`terminate_job` is not implemented there).
    """

    def wait_for_soft_shutdown(self) -> None:
        """Wait for the running steps; when most of the time is over, tell them to hand themselves back."""
        runtime: Runtime = self.app.runtime
        started, whole = time.monotonic(), runtime.settings.line.soft_shutdown_s
        if not until(idle, started + whole * _LAST_CALL):
            runtime.halt.stop()
            until(idle, started + whole)


def idle() -> bool:
    """Whether every step that was begun has been acknowledged or handed back."""
    return not any(not request.acknowledged for request in tuple(state.active_requests))


def until(condition: Callable[[], bool], end: float) -> bool:
    """Wait for the condition, at most until `end` on the monotonic clock; says whether it was met."""
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(_LOOK_S)
    return met
