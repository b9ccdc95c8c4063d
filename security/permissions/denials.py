"""How often each model was denied of late: a model that is denied again and again is not asking by mistake."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from switchtower.messages import now_ms
from switchtower.queues import key


class Denials:
    """Counts denials per model in a sliding window, and raises the lockdown at the first beyond the limit."""

    def __init__(self, redis: Redis, limit: int, window_s: float, raise_lockdown: Callable[[str], object]) -> None:
        self._redis = redis
        self._limit = limit
        self._window_ms = int(window_s * 1000)
        self._raise_lockdown = raise_lockdown

    def note(self, model: str, request: str) -> int:
        """Count a denied request, once however often it is delivered; returns the count in the window."""
        name, now = key("permissions", "denied", model), now_ms()
        with self._redis.pipeline() as pipe:
            pipe.zadd(name, {request: now}, nx=True)
            pipe.zremrangebyscore(name, "-inf", now - self._window_ms)
            pipe.zcard(name)
            pipe.pexpire(name, self._window_ms)
            count = int(pipe.execute()[2])
        if count > self._limit:
            self._raise_lockdown(f"{count} denied permissions of {model} within {self._window_ms / 1000:g} s")
            # Only after the raise has worked. The operator's release is then a fresh start.
            self._redis.delete(name)
        return count
