"""The registry of models: each worker announces what it serves, again and again, while it lives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from redis import Redis

from switchtower.messages import Millis, now_ms
from switchtower.models import Frozen, ModelCard
from switchtower.queues import key

MODELS = key("models")
FORGET_MS = 86_400_000


class Announcement(Frozen):
    """One worker's word that it serves a model."""

    card: ModelCard
    worker: str
    seen: Millis
    busy: int = 0

    def alive(self, heartbeat_s: float) -> bool:
        """Whether no more than five heartbeats were missed."""
        return now_ms() - self.seen <= 5_000 * heartbeat_s


def announce(redis: Redis, announcements: Iterable[Announcement]) -> None:
    """Write or renew a worker's announcements."""
    fields: dict[Any, Any] = {f"{one.card.name}@{one.worker}": one.model_dump_json() for one in announcements}
    if fields:
        redis.hset(MODELS, mapping=fields)


def succeed(redis: Redis, announcements: Iterable[Announcement], heartbeat_s: float) -> None:
    """Announce for the first time; remove dead workers of the same models, and what nobody could use any more."""
    served = list(announcements)
    names = {one.card.name for one in served}
    for name, old in _entries(redis).items():
        if old is None or (old.card.name in names and not old.alive(heartbeat_s)):
            redis.hdel(MODELS, name)
    announce(redis, served)


def announced(redis: Redis) -> list[Announcement]:
    """Everything announced within a day, alive or not; who reads needs no right to write."""
    entries = _entries(redis)
    return [one for name in sorted(entries) if (one := entries[name]) is not None]


def _entries(redis: Redis) -> dict[str, Announcement | None]:
    """Every entry by its name, and nothing for one that is unreadable or too old."""
    return {str(name): _read(str(raw)) for name, raw in redis.hgetall(MODELS).items()}


def _read(raw: str) -> Announcement | None:
    try:
        one = Announcement.model_validate_json(raw)
    except ValidationError:
        return None
    return one if now_ms() - one.seen <= FORGET_MS else None
