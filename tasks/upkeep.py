"""upkeep: find the steps that nobody runs any more and put their messages on the line again."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from switchtower.errors import JobExpired
from switchtower.jobs import State
from switchtower.ledger import Ledger
from switchtower.messages import now_ms
from switchtower.queues import QUEUE_OF, key
from workers.bootsteps import HaltStep
from workers.runtime import Runtime

logger = get_logger(__name__)

SWEEPING = key("sweeping")


class Sweeper:
    """Republishes what was lost between broker and worker; the claim drops what was not."""

    def __init__(self, app: Celery, ledger: Ledger) -> None:
        self._app = app
        self._ledger = ledger
        self._grace_ms = int(ledger.line.grace_s * 1000)

    def sweep(self) -> int:
        """Look once at everything that is due; returns how many messages were published again."""
        redis = self._ledger.redis
        if not redis.set(SWEEPING, "1", nx=True, px=max(1000, int(self._ledger.line.sweep_s * 1000))):
            return 0
        oldest = {queue: self._oldest_waiting(queue) for queue in set(QUEUE_OF.values())}
        return sum(self._look(job, oldest) for job in self._ledger.due())

    def _look(self, job: str, oldest: dict[str, int]) -> bool:
        step = self._ledger.step(job)
        if "envelope" not in step:
            self._ledger.forget(job)
            return False
        if int(step["deadline"]) <= now_ms():
            late = JobExpired()
            self._ledger.finish(job, State.EXPIRED, error=type(late).__name__, message=str(late))
            return False
        if not self._lost(step, oldest):
            # The longer it has waited in a backlog, the longer it may: so a sweep keeps up with any queue.
            waited_s = (now_ms() - int(step["handed"])) / 1000
            self._ledger.look_again(job, max(self._ledger.line.grace_s, waited_s))
            return False
        self._ledger.handed_again(job)
        self._publish(step)
        logger.warning("job %s: %s was lost on the way and is published again", job, step["station"])
        return True

    def _lost(self, step: dict[str, str], oldest: dict[str, int]) -> bool:
        handed, lease = int(step["handed"]), int(step["lease"])
        if step["state"] == State.RUNNING and lease > handed:
            return lease <= now_ms()
        return handed + self._grace_ms < oldest[QUEUE_OF[step["station"]]]

    def _oldest_waiting(self, queue: str) -> int:
        """When the message that is next in a queue was sealed; whatever was handed in before is not in there."""
        raw = self._ledger.redis.lindex(queue, -1)
        if raw is None:
            return now_ms()
        try:
            args, _, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
            return int(args[0]["iat"])
        except (ValueError, KeyError, TypeError, IndexError):
            return now_ms()

    def _publish(self, step: dict[str, str]) -> None:
        envelope: dict[str, Any] = json.loads(step["envelope"])
        chain = json.loads(step.get("canvas") or "null")
        self._app.send_task(step["station"], args=[envelope], task_id=envelope["id"], chain=chain)


class SweepStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Runs the sweeper in a thread of the upkeep worker."""

    requires = (HaltStep,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._runtime: Runtime = consumer.app.runtime
        self._sweeper = Sweeper(consumer.app, self._runtime.ledger)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self, consumer: Any) -> None:
        if not self._thread.is_alive():
            self._thread.start()

    def shutdown(self, consumer: Any) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._runtime.settings.line.sweep_s):
            if self._runtime.halt.is_set():
                continue
            try:
                self._sweeper.sweep()
            except (RedisError, OperationalError) as error:
                logger.warning("the sweep broke off: %s", type(error).__name__)
