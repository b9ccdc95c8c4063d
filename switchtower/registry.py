"""The registry of models: each worker announces what it serves and how it is, again and again, while it lives.

One hash: `<model>@<worker>` holds an announcement, `@<worker>` the worker's vitals, however many models it serves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import Field, ValidationError
from redis import Redis

from switchtower.messages import Millis, now_ms
from switchtower.models import Frozen, ModelCard
from switchtower.queues import key

MODELS = key("models")
FORGET_MS = 86_400_000

LOADED: Final = "loaded"
UNLOADED: Final = "unloaded"
"""The states of a model that an operator may order."""


def order_key(model: str) -> str:
    """Where the latest order to load or unload a base model stands, sealed by an operator."""
    return key("models", "order", model)


class _Seen(Frozen):
    worker: str
    seen: Millis

    def alive(self, heartbeat_s: float) -> bool:
        """Whether no more than five heartbeats were missed."""
        return now_ms() - self.seen <= 5_000 * heartbeat_s


class Announcement(_Seen):
    """One worker's word that it serves a model."""

    card: ModelCard
    busy: int = 0
    loaded: bool = True
    """Whether it answers now; a model that was unloaded is still known, and its jobs wait."""

    def available(self, heartbeat_s: float) -> bool:
        """Whether a living worker has the model loaded."""
        return self.loaded and self.alive(heartbeat_s)


class AdapterSlot(Frozen):
    """An adapter in a worker's memory, ready to be used."""

    name: str
    version: str
    leases: int = Field(default=0, ge=0, description="rows that use it now")
    pinned: bool = False


class Vitals(_Seen):
    """How one worker and its model are; what the worker cannot know is left out."""

    model: str
    state: str = LOADED
    trouble: str = Field(default="", max_length=500, description="why the model is not loaded, if it should be")
    adapters: tuple[AdapterSlot, ...] = ()
    rows: int | None = Field(default=None, description="jobs that decode together now")
    max_batch: int | None = None
    waiting: int | None = Field(default=None, description="jobs in the engine that have no row yet")
    tokens_per_s: float | None = None
    queue_wait_s: float | None = Field(default=None, description="how long a job waits for a row, of late")
    step_s: float | None = Field(default=None, description="how long a step takes, of late")
    rss_bytes: int | None = Field(default=None, description="of the worker's process")
    kv_cache_bytes: int | None = None
    gpu_bytes: int | None = Field(default=None, description="of the GPU's memory that is in use, by whomever")
    gpu_total_bytes: int | None = None
    gpu_celsius: int | None = None


class Registry(NamedTuple):
    """Everything announced within a day, alive or not."""

    models: list[Announcement]
    workers: list[Vitals]


def announce(redis: Redis, announcements: Iterable[Announcement], vitals: Vitals | None = None) -> None:
    """Write or renew a worker's announcements, and its vitals beside them."""
    fields: dict[Any, Any] = {
        # Left out where it is as usual, so that a release which does not know the field can read the rest.
        f"{one.card.name}@{one.worker}": one.model_dump_json(exclude={"loaded"} if one.loaded else None)
        for one in announcements
    }
    if vitals:
        fields[f"@{vitals.worker}"] = vitals.model_dump_json(exclude_none=True)
    if fields:
        redis.hset(MODELS, mapping=fields)


def succeed(
    redis: Redis, announcements: Iterable[Announcement], heartbeat_s: float, vitals: Vitals | None = None
) -> None:
    """Announce for the first time; remove dead workers of the same models, and what nobody could use any more."""
    served = list(announcements)
    names = {one.card.name for one in served}
    for name, old in _entries(redis).items():
        if old is None or (_concerns(old, names) and not old.alive(heartbeat_s)):
            redis.hdel(MODELS, name)
    announce(redis, served, vitals)


def look(redis: Redis) -> Registry:
    """The registry as it stands; who reads needs no right to write."""
    entries = _entries(redis)
    found = [entries[name] for name in sorted(entries)]
    return Registry(_only(Announcement, found), _only(Vitals, found))


def announced(redis: Redis) -> list[Announcement]:
    """Every model announced within a day, alive or not."""
    return look(redis).models


T = TypeVar("T")


def _only(kind: type[T], found: Iterable[object]) -> list[T]:
    return [one for one in found if isinstance(one, kind)]


def _concerns(old: Announcement | Vitals, names: set[str]) -> bool:
    """Whether it is of one of these models; vitals are of a worker's base model."""
    return (old.card.name if isinstance(old, Announcement) else old.model) in names


def _entries(redis: Redis) -> dict[str, Announcement | Vitals | None]:
    """Every entry by its name, and nothing for one that is unreadable or too old."""
    return {str(name): _read(str(name), str(raw)) for name, raw in redis.hgetall(MODELS).items()}


def _read(name: str, raw: str) -> Announcement | Vitals | None:
    kind = Vitals if name.startswith("@") else Announcement
    try:
        one = kind.model_validate_json(raw)
    except ValidationError:
        return None
    return one if now_ms() - one.seen <= FORGET_MS else None
