"""Connections to the broker: lazily made, pooled, one pool per process."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from kombu.exceptions import OperationalError
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisLost
from redis.exceptions import TimeoutError as RedisSilent

from switchtower.errors import BrokerDenied, BrokerUnavailable
from switchtower.settings import Broker
from switchtower.tls import advice, tls_options


def connect(broker: Broker, **options: Any) -> Redis:
    """A client of the broker that decodes replies to text."""
    return Redis.from_url(broker.url, **_options(broker) | options)


def connect_async(broker: Broker, **options: Any) -> AsyncRedis:
    """The same for asyncio."""
    return AsyncRedis.from_url(broker.url, **_options(broker) | options)


def _options(broker: Broker) -> dict[str, Any]:
    timeout = broker.socket_timeout_s
    plain = {"decode_responses": True, "socket_timeout": timeout, "socket_connect_timeout": timeout}
    return plain | tls_options(broker)


@contextmanager
def reachable() -> Iterator[None]:
    """Raise `BrokerUnavailable` for whatever way the broker fails to answer in, `BrokerDenied` where it refuses."""
    try:
        yield
    except (ConnectionError, RedisLost, RedisSilent, OperationalError, NoPermissionError) as error:
        raise _named(error) from error


def _named(error: BaseException) -> BrokerUnavailable:
    """What went wrong, as an error of ours that says what to do; the cause may lie some errors deep."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AuthenticationError | NoPermissionError):
            return BrokerDenied(f"{BrokerDenied.__doc__} ({cause})")
        if isinstance(cause, ssl.SSLError):
            return BrokerUnavailable(advice(cause))
        cause = cause.__cause__ or cause.__context__
    return BrokerUnavailable(f"{BrokerUnavailable.__doc__} ({type(error).__name__})")


def refuse_early(broker: Broker) -> None:
    """Raise where waiting for the broker cannot help: a wrong password, a certificate that is not accepted.

    A broker that is merely away is waited for.
    """
    try:
        with reachable(), connect(broker) as redis:
            redis.ping()
    except BrokerDenied:
        raise
    except BrokerUnavailable as error:
        if isinstance(_root(error), ssl.SSLError):
            raise


def _root(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


@cache
def shared(broker: Broker) -> Redis:
    """The process's one client for this broker; redis-py renews its pool after a fork."""
    return connect(broker)
