"""Which Redis keys may live without a time to live; every other one is a leak."""

from __future__ import annotations

from redis import Redis

PERMANENT = (
    "_kombu.",
    "switchtower:alerts",
    "switchtower:audit",
    "switchtower:dead",
    "switchtower:due",
    "switchtower:finished",
    "switchtower:lockdown",
    "switchtower:models",
    "switchtower:refusals",
    "switchtower:unacked:",
)


def leaked(redis: Redis) -> list[str]:
    """Keys that nobody will ever remove."""
    forever = (key for key in redis.scan_iter(count=1000) if redis.ttl(key) == -1)
    return sorted(key for key in forever if not key.startswith(PERMANENT))
