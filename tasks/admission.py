"""The door of a worker: a message is verified in the main process, before pool and rate limit.

What is refused is acknowledged, counted and reported, and never reaches a task body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker.request import Request
from celery.worker.strategy import default
from redis.exceptions import RedisError

from switchtower.envelope import admit, parse
from switchtower.errors import EnvelopeRefused, MalformedEnvelope, OversizedEnvelope
from switchtower.jobs import ALERTS, REFUSALS
from switchtower.messages import SecurityAlert, new_identity
from workers.runtime import Runtime

logger = get_logger(__name__)


class SealedRequest(Request):  # type: ignore[misc]
    """A Celery request that exists only if its envelope is admitted; its repr holds no payload."""

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(message, *args, **kwargs)
        self._argsrepr = self._request_dict["argsrepr"] = "(<sealed>,)"
        self._kwargsrepr = self._request_dict["kwargsrepr"] = "{}"
        runtime: Runtime = self._task.runtime
        if not isinstance(self._args, list | tuple) or len(self._args) != 1 or self._kwargs:
            raise MalformedEnvelope("expected one positional argument, the envelope")
        station = self._task.station
        envelope = parse(self._args[0], runtime.settings.security.max_envelope_bytes)
        admit(envelope, runtime.ring, station.wire, str(self.id), station.admits)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What `inspect` may tell of this request: never its payload, whatever was asked."""
        return dict(super().info(safe=True))


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy behind the door."""
    handle = default(task, app, consumer, **options)
    limit = task.runtime.settings.security.max_envelope_bytes

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        try:
            if len(message.body) > limit:
                raise OversizedEnvelope(f"the message has {len(message.body)} bytes, the limit is {limit}")
            return handle(message, body, ack, reject, callbacks, **kwargs)
        except EnvelopeRefused as refusal:
            report(task.runtime, task.name, refusal)
            ack(logger, consumer.connection_errors)

    return on_message


def report(runtime: Runtime, wire: str, refusal: EnvelopeRefused) -> None:
    """Count a refusal and raise an alert that names the error, never the text."""
    name = type(refusal).__name__
    logger.warning("refused a message to %s: %s: %s", wire, name, refusal)
    alert = SecurityAlert(job=new_identity(), source=wire, summary=f"{name}: {refusal}"[:500])
    try:
        with runtime.ledger.redis.pipeline(transaction=False) as pipe:
            pipe.hincrby(REFUSALS, name, 1)
            pipe.xadd(ALERTS, {"e": alert.model_dump_json()}, maxlen=10_000)
            pipe.execute()
    except RedisError as error:
        logger.error("the refusal could not be counted: %s", type(error).__name__)
