"""What Switchtower adds to every Celery worker: under lockdown it lets go of all it holds."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from celery.worker.consumer.events import Events
from celery.worker.consumer.tasks import Tasks

from workers.runtime import Runtime
from workers.watch import Watch

logger = get_logger(__name__)


class HaltStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Under lockdown, stop consuming and hand back every message that is held; resume after release."""

    requires = (Tasks,)
    every_s = 0.05

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._runtime: Runtime = consumer.app.runtime
        self._queues: list[str] = []
        self._halted = False
        self._timer: Any = None
        security = self._runtime.settings.security
        self._watch = Watch(
            self._runtime.settings.broker, self._runtime.flag, self._runtime.halt, security.watch_s, security.stale_s
        )

    def start(self, consumer: Any) -> None:
        if not self._watch.is_alive():
            self._watch.start()
        # A reconnection under lockdown brings a consumer without queues: they were left, and are still to be taken up.
        self._queues = self._queues or [queue.name for queue in consumer.task_consumer.queues]
        self._timer = consumer.timer.call_repeatedly(self.every_s, self._tick, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self, consumer: Any) -> None:
        self._watch.end()

    def _tick(self, consumer: Any) -> None:
        """Leave the queues or return to them; what breaks off half way with the connection is done again next time."""
        why = self._why_not()
        if why and not self._halted:
            self._leave_queues(consumer, why)
            hand_back(consumer)
            interrupt_children(consumer)
        elif not why and self._halted:
            self._return_to_queues(consumer)
        self._halted = bool(why)

    def _why_not(self) -> str:
        """Why this worker must take no messages now, or nothing."""
        runtime = self._runtime
        if runtime.halt.stopping:
            return "stopping"
        return "locked down" if runtime.halt.is_set() else "its model is away" if runtime.away.is_set() else ""

    def _leave_queues(self, consumer: Any, why: str) -> None:
        for queue in self._queues:
            consumer.cancel_task_queue(queue)
        logger.warning("%s: no longer consuming %s", why, ", ".join(self._queues))

    def _return_to_queues(self, consumer: Any) -> None:
        for queue in self._queues:
            consumer.add_task_queue(queue)
        logger.warning("back: consuming %s again", ", ".join(self._queues))


class EventStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Sends what monitors want to know in batches, and not in one publication for each of a task's three events."""

    requires = (Events,)
    every_s = 0.5

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        if consumer.hub and consumer.event_dispatcher:
            consumer.event_dispatcher.on_send_buffered = None
            self._timer = consumer.timer.call_repeatedly(self.every_s, consumer._flush_events)

    def stop(self, consumer: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()


def hand_back(consumer: Any) -> None:
    """Return what waits for a rate limit to its queue, in the order in which it came."""
    for bucket in filter(None, consumer.task_buckets.values()):
        while bucket.contents:
            request, _tokens = bucket.contents.pop()
            _return(request)


def _return(request: Any) -> None:
    state.requests.pop(request.id, None)
    request.reject(requeue=True)


def interrupt_children(consumer: Any) -> None:
    """Raise SoftTimeLimitExceeded in the prefork children that run a body; threads read the stop byte."""
    if not hasattr(consumer.pool, "_pool") or "prefork" not in type(consumer.pool).__module__:
        return
    for request in tuple(state.active_requests):
        if request.worker_pid and request.worker_pid != os.getpid():
            os.kill(request.worker_pid, signal.SIGUSR1)
