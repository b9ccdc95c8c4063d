"""Connections to the broker: lazily made, pooled, one pool per process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from kombu.exceptions import OperationalError
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisLost
from redis.exceptions import TimeoutError as RedisSilent

from switchtower.errors import BrokerUnavailable
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


@contextmanager
def reachable() -> Iterator[None]:
    """Raise `BrokerUnavailable` for whatever way the broker fails to answer in."""
    try:
        yield
    except (ConnectionError, RedisLost, RedisSilent, OperationalError) as error:
        raise BrokerUnavailable(f"{BrokerUnavailable.__doc__} ({type(error).__name__})") from error


@cache
def shared(broker: Broker) -> Redis:
    """The process's one client for this broker; redis-py renews its pool after a fork."""
    return connect(broker)
