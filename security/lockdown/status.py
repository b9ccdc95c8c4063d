"""The whole state of the lockdown at a glance: the flag, the controllers, the latest releases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from security.lockdown.places import CONTROLLERS, LEADER, RELEASES
from switchtower.envelope import KeyRing
from switchtower.lease import Standing, printable, standing
from switchtower.messages import now_ms

_SEEN_MS = 3000


@dataclass(frozen=True)
class Release:
    """One attempt to release, and what came of it."""

    at: int
    outcome: str
    operator: str
    text: str


@dataclass(frozen=True)
class Status(Standing):
    """What the flag says now, who holds it open, and who released it of late."""

    leader: str | None = None
    standby: tuple[str, ...] = ()
    releases: tuple[Release, ...] = ()


def status(redis: Redis, ring: KeyRing, releases: int = 3) -> Status:
    """The state as this key ring sees it; all but the flag is hearsay of the broker's."""
    found = standing(redis, ring)
    leader, seen = _controllers(redis)
    return Status(
        **vars(found), leader=leader, standby=tuple(sorted(seen - {leader})), releases=_releases(redis, releases)
    )


def _controllers(redis: Redis) -> tuple[str | None, set[Any]]:
    try:
        token: Any = redis.get(LEADER)
        seen: Any = redis.zrange(CONTROLLERS, now_ms() - _SEEN_MS, "+inf", byscore=True)
    except (ResponseError, UnicodeDecodeError):
        return None, set()
    return (printable(token.split(" ")[0], 128) if token else None), {printable(one, 128) for one in seen}


def _releases(redis: Redis, count: int) -> tuple[Release, ...]:
    try:
        entries: Any = redis.xrevrange(RELEASES, count=count)
        return tuple(_read(json.loads(fields["e"])) for _, fields in entries)
    except (ResponseError, ValueError, KeyError, TypeError):
        return ()


def _read(said: dict[str, Any]) -> Release:
    text = {name: printable(said[name], 300) for name in ("outcome", "operator", "text")}
    return Release(at=int(said["at"]), **text)
