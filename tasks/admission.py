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

from security.audit.events import event, put
from switchtower.envelope import admit, parse
from switchtower.errors import EnvelopeRefused, MalformedEnvelope, OversizedEnvelope
from switchtower.jobs import ALERTS, REFUSALS
from switchtower.messages import Envelope, SecurityAlert, new_identity
from switchtower.queues import SEALED
from tasks.canvas import Canvas, read
from workers.runtime import Runtime

logger = get_logger(__name__)


class SealedRequest(Request):  # type: ignore[misc]
    """A Celery request that exists only if its envelope is admitted.

    It is made of what is sealed, of what the line's table says, and of the canvas as it was read. Whatever
    else the message said of itself (times, limits, names to show, identities of parents) is not sealed and is
    left out; so nothing of the payload stands in its repr either.
    """

    def __init__(
        self, message: Any, *, task: Any, headers: Any, body: Any, decoded: bool, utc: bool, **options: Any
    ) -> None:
        args, kwargs, embed = message.payload
        if not isinstance(args, list | tuple) or len(args) != 1 or kwargs:
            raise MalformedEnvelope("expected one positional argument, the envelope")
        runtime: Runtime = task.runtime
        envelope = parse(args[0], runtime.settings.security.max_envelope_bytes)
        try:
            admit(envelope, runtime.ring, task.station.wire, str(headers["id"]), task.station.admits)
        except EnvelopeRefused as refusal:
            refusal.job = envelope.job
            raise
        canvas = read(embed, headers, task.name, runtime.settings.broker.extra_queues)
        following = canvas.embed(runtime.app, envelope.job, task.name)
        known = _headers(envelope, task, canvas)
        super().__init__(
            message, task=task, headers=known, body=(args, {}, following), decoded=True, utc=True, **options
        )

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What `inspect` may tell of this request: never its payload, whatever was asked."""
        return dict(super().info(safe=True))


def _headers(envelope: Envelope, task: Any, canvas: Canvas) -> dict[str, Any]:
    """The headers of an admitted message. Only a result may be kept: what goes before it was not reviewed."""
    return {
        "lang": "py",
        "task": task.name,
        "id": envelope.id,
        "root_id": envelope.id,
        "retries": 0,
        "timelimit": (None, None),
        "group": canvas.group,
        "group_index": canvas.index,
        "ignore_result": task.ignore_result,
        "argsrepr": SEALED,
        "kwargsrepr": "{}",
    }


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's default strategy behind the door."""
    handle = default(task, app, consumer, **options)
    limit = task.runtime.settings.security.max_envelope_bytes

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **kwargs: Any) -> Any:
        try:
            if len(message.body) > limit:
                raise OversizedEnvelope(f"the message has {len(message.body)} bytes, the limit is {limit}")
            if body is not None or not isinstance(message.payload, list) or len(message.payload) != 3:  # noqa: PLR2004
                raise MalformedEnvelope("not a task message of Celery's second protocol")
            return handle(message, body, ack, reject, callbacks, **kwargs)
        except EnvelopeRefused as refusal:
            report(task.runtime, task.name, refusal)
            ack(logger, consumer.connection_errors)

    return on_message


def report(runtime: Runtime, wire: str, refusal: EnvelopeRefused) -> None:
    """Count a refusal, raise an alert and tell the audit; all of them name the error, never the text."""
    name = type(refusal).__name__
    logger.warning("refused a message to %s: %s: %s", wire, name, refusal)
    alert = SecurityAlert(job=refusal.job or new_identity(), source=wire, summary=f"{name}: {refusal}"[:500])
    told = event("refusal", name, wire, alert, {"reason": str(refusal)[:500]})
    try:
        with runtime.ledger.redis.pipeline(transaction=False) as pipe:
            pipe.hincrby(REFUSALS, name, 1)
            pipe.xadd(ALERTS, {"e": alert.model_dump_json()}, maxlen=10_000)
            put(pipe, told, runtime.signer if runtime.role else None)
            pipe.execute()
    except RedisError as error:
        logger.error("the refusal could not be counted: %s", type(error).__name__)
