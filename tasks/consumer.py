"""The consumer of a worker: what is no task of ours is dropped and counted, and its body stays out of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from celery.worker.control import Panel
from celery.worker.loops import asynloop

from switchtower.errors import EnvelopeRefused, MalformedEnvelope, Retargeted
from tasks.admission import report

logger = get_logger(__name__)

UNKNOWN = "switchtower.unknown"
"""Where a message was going that does not say so."""

_ODD = (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What parsing may raise, be it nested too deeply or a number that is none."""

_REMOTE = frozenset(
    {
        *("active", "active_queues", "clock", "conf", "disable_events", "enable_events", "heartbeat", "hello", "ping"),
        *("query_task", "registered", "report", "reserved", "revoked", "scheduled", "stats"),
    }
)
"""What may be asked of a worker from afar: nothing that changes what it does."""


class DiscreetConsumer(Consumer):  # type: ignore[misc]
    """Acknowledges what it cannot take.

    Celery's own would write the body into the log; and at a header of the wrong type it would end the
    worker and give the message back, so that the next worker ends too.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        for name in Panel.data.keys() - _REMOTE:
            del Panel.data[name]
        super().__init__(*args, **options)

    def update_strategies(self) -> None:
        """As Celery's, for stations only: its own tasks (`celery.map`, …) would send what a message asks for."""
        super().update_strategies()
        tasks = self.app.tasks
        for name in [name for name in self.strategies if not hasattr(tasks[name], "station")]:
            del self.strategies[name]

    def loop(self, *args: Any) -> None:
        """Celery's event loop; bytes that are no message at all cost a reconnection instead of the worker."""
        try:
            asynloop(*args)
        except _ODD as error:
            report(self.app.runtime, UNKNOWN, MalformedEnvelope(f"{type(error).__name__} in the transport"))
            raise ConnectionResetError("the transport popped something that is no message") from error

    def call_soon_ack(self, acknowledge: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """As Celery's, but one that comes after its connection has ended must not end the worker.

        A closed channel of kombu's has no connection to ask for a host name; the message was restored already.
        """

        def acknowledge_if_connected() -> None:
            try:
                acknowledge(*args, **options)
            except AttributeError as error:
                logger.warning("a message was not acknowledged, its connection is gone (%s)", error)

        return super().call_soon_ack(acknowledge_if_connected)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """As Celery's, but a connection that is half closed already must not end the worker.

        Closing it, kombu restores what was unacknowledged, and may trip over the missing half; what is not
        restored lies in the ledger, and upkeep publishes it again.
        """
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            logger.warning("the lost connection could not be closed in good order (%s)", error)

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> None:
            try:
                handle(message)
            except (*_ODD, LookupError) as error:
                if message.acknowledged:
                    raise
                self._drop(message, MalformedEnvelope(f"{type(error).__name__} in the message's headers"))

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._drop(message, MalformedEnvelope("not a task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._drop(message, Retargeted("no such task at this worker"))

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        self._drop(message, MalformedEnvelope(type(exc).__name__))

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        self._drop(message, MalformedEnvelope(type(exc).__name__))

    def _drop(self, message: Any, refusal: EnvelopeRefused) -> None:
        report(self.app.runtime, UNKNOWN, refusal)
        message.ack_log_error(logger, self.connection_errors)
