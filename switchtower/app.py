"""The Celery app: every setting that keeps a message from being lost stands here, once."""

from __future__ import annotations

import os
from typing import Any

# A supervisor's SIGTERM becomes Celery's soft shutdown; billiard reads this when it is first imported.
os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")

from celery import Celery
from celery.backends.redis import RedisBackend
from kombu.entity import Exchange, Queue

from switchtower.queues import QUEUE_OF, QUEUES, unacked_keys
from switchtower.settings import Settings, settings
from switchtower.tls import tls_options


class QuietBackend(RedisBackend):  # type: ignore[misc]
    """Redis results without the subscription that a stock producer opens for every task it sends."""

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        return {}


def create_app(config: Settings | None = None, role: str = "client") -> Celery:
    """The app of one role; every process of a deployment must build it from the same settings."""
    chosen = config or settings()
    app = Celery("switchtower", set_as_current=False)
    app.conf.update(_conf(chosen, role))
    app.switchtower = chosen
    return app


def _conf(config: Settings, role: str) -> dict[str, Any]:
    return {
        **_transport(config, role),
        **_delivery(),
        **_worker(config),
        "result_backend": f"switchtower.app.QuietBackend+{config.broker.url}",
        "result_expires": config.line.retention_s,
        "result_backend_transport_options": {"global_keyprefix": "switchtower:celery:"},
        "redis_backend_use_ssl": tls_options(config.broker) or None,
        "redis_socket_timeout": config.broker.socket_timeout_s,
        "redis_retry_on_timeout": True,
        "task_queues": [
            Queue(name, Exchange(name), routing_key=name) for name in (*QUEUES, *config.broker.extra_queues)
        ],
        "task_routes": {wire: {"queue": queue} for wire, queue in QUEUE_OF.items()},
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,
        "enable_utc": True,
    }


def _transport(config: Settings, role: str) -> dict[str, Any]:
    return {
        "broker_url": config.broker.url,
        "broker_use_ssl": tls_options(config.broker) or False,
        "broker_transport_options": {
            "visibility_timeout": config.broker.visibility_timeout_s,
            "socket_timeout": config.broker.socket_timeout_s,
            "socket_keepalive": True,
            "priority_steps": [0],
            "queue_order_strategy": "round_robin",
            **unacked_keys(role),
        },
        "broker_channel_error_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
    }


def _delivery() -> dict[str, Any]:
    return {
        "task_acks_late": True,
        "task_acks_on_failure_or_timeout": True,
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        "task_track_started": False,
        "task_send_sent_event": False,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }


def _worker(config: Settings) -> dict[str, Any]:
    return {
        "worker_soft_shutdown_timeout": config.line.soft_shutdown_s,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "event_queue_ttl": 60,
        "event_queue_expires": 60,
    }
