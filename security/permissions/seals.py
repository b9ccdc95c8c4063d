"""Reading what stands in Redis, where anybody may have written it: it is believed for its seal alone."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from redis import Redis

from switchtower.envelope import KeyRing, Role, admit, parse, unpack
from switchtower.errors import EnvelopeRefused
from switchtower.messages import Message, now_ms

LIMIT = 65_536
"""The longest payload, in characters."""

M = TypeVar("M", bound=Message)


def genuine(raw: Any, ring: KeyRing, wire: str, role: Role, kind: type[M], identity: str | None = None) -> M | None:
    """The message in this text, if that role sealed it for this wire (and under this id), and it is in time."""
    try:
        envelope = parse(json.loads(raw or ""), LIMIT)
        admit(envelope, ring, wire, identity or envelope.id, {role})
        message = unpack(envelope, kind)
    except (ValueError, EnvelopeRefused):
        return None
    return message if message.id == envelope.id else None


def enter(pipe: Redis, index: str, identity: str, expires: int) -> None:
    """Queue the commands that enter an id into an index, which lives as long as its last entry."""
    pipe.zremrangebyscore(index, "-inf", now_ms())
    pipe.zadd(index, {identity: expires})
    pipe.pexpireat(index, expires, nx=True)
    pipe.pexpireat(index, expires, gt=True)
