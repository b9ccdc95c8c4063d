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
    """Announce for the first time, and remove the entries of dead workers that served the same models."""
    served = list(announcements)
    names = {one.card.name for one in served}
    for name, old in _entries(redis).items():
        if old.card.name in names and not old.alive(heartbeat_s):
            redis.hdel(MODELS, name)
    announce(redis, served)


def announced(redis: Redis) -> list[Announcement]:
    """Everything announced within a day, alive or not; older and unreadable entries are dropped for good."""
    entries = _entries(redis)
    return [entries[name] for name in sorted(entries)]


def _entries(redis: Redis) -> dict[str, Announcement]:
    found: dict[str, Announcement] = {}
    for name, raw in redis.hgetall(MODELS).items():
        one = _read(str(raw))
        if one is None or now_ms() - one.seen > FORGET_MS:
            redis.hdel(MODELS, str(name))
        else:
            found[str(name)] = one
    return found


def _read(raw: str) -> Announcement | None:
    try:
        return Announcement.model_validate_json(raw)
    except ValidationError:
        return None
