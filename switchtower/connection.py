"""Connections to the broker: lazily made, pooled, one pool per process."""

from __future__ import annotations

from functools import cache
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from switchtower.settings import Broker


def connect(broker: Broker, **options: Any) -> Redis:
    """A client of the broker that decodes replies to text."""
    return Redis.from_url(broker.url, **_options(broker) | options)


def connect_async(broker: Broker, **options: Any) -> AsyncRedis:
    """The same for asyncio."""
    return AsyncRedis.from_url(broker.url, **_options(broker) | options)


def _options(broker: Broker) -> dict[str, Any]:
    timeout = broker.socket_timeout_s
    return {"decode_responses": True, "socket_timeout": timeout, "socket_connect_timeout": timeout}


@cache
def shared(broker: Broker) -> Redis:
    """The process's one client for this broker; redis-py renews its pool after a fork."""
    return connect(broker)
