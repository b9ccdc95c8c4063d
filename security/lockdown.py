"""The lockdown flag: anyone may raise it, only the operator's key lifts it, and whatever cannot be verified is locked.

The flag is one Redis value. Open is an envelope that the operator sealed, bearing an epoch that never
falls; anything else (missing, unreadable, forged, older) is locked. A raise replaces the value at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from switchtower.envelope import KeyRing, Role, Signer, admit, parse, unpack
from switchtower.errors import EnvelopeRefused, LockdownActive
from switchtower.jobs import FLAG, FLAG_CHANNEL, FLAG_EPOCH
from switchtower.messages import Message, new_identity, now_ms
from switchtower.queues import LOCKDOWN

_STANDING_MS = 10 * 365 * 86_400_000
_LIMIT = 4096


class Opening(Message):
    """The operator's word that the line may run."""

    kind: Literal["opening"] = "opening"
    epoch: int
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """What the flag says now."""

    locked: bool
    epoch: int
    reason: str
    by: str
    since: int | None


class Flag:
    """A reader of the flag that remembers what it has verified, and the highest epoch it saw."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._open_at = 0
        self._lowest = 0
        self.verified = ""

    def accept(self, raw: str | None) -> bool:
        """Whether this raw value, read just now, says open."""
        if raw and raw == self.verified:
            return True
        opening = self._opening(raw)
        if opening is None or opening.epoch < self._lowest:
            # What was open and is locked now takes a later opening: the last one may have been copied.
            if self.verified:
                self._lowest = self._open_at + 1
            self.verified = ""
            return False
        self._lowest = self._open_at = opening.epoch
        self.verified = raw or ""
        return True

    def _opening(self, raw: str | None) -> Opening | None:
        try:
            envelope = parse(json.loads(raw or ""), _LIMIT)
            admit(envelope, self._ring, LOCKDOWN, envelope.id, {Role.OPERATOR, Role.CONTROLLER})
            return unpack(envelope, Opening)
        except (ValueError, EnvelopeRefused):
            return None


_ENGAGE = """
local epoch = redis.call('INCR', KEYS[2])
local value = cjson.decode(ARGV[1])
value['epoch'] = epoch
redis.call('SET', KEYS[1], cjson.encode(value))
redis.call('PUBLISH', KEYS[3], 'locked')
return epoch
"""

_RELEASE = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[3], 'open')
return 1
"""

_KEYS = [FLAG, FLAG_EPOCH, FLAG_CHANNEL]


def engage(redis: Redis, reason: str, by: str) -> int:
    """Halt the whole line at once; returns the new epoch."""
    value = json.dumps({"state": "locked", "reason": reason[:500], "by": by[:128], "at": now_ms()})
    return int(redis.eval(_ENGAGE, len(_KEYS), *_KEYS, value))


def release(redis: Redis, operator: Signer, reason: str) -> int:
    """Open the line in the operator's name; raises `LockdownActive` where somebody locked it meanwhile."""
    # A clock's time, so that the epoch goes on rising even where the broker has lost its data.
    seen: Any = redis.get(FLAG_EPOCH) or ""
    epoch = max(int(seen or 0) + 1, now_ms())
    identity = new_identity()
    opening = Opening(job=identity, user=operator.kid, epoch=epoch, reason=reason)
    envelope = operator.seal(opening, LOCKDOWN, identity, now_ms() + _STANDING_MS)
    if not redis.eval(_RELEASE, len(_KEYS), *_KEYS, envelope.model_dump_json(), epoch, seen):
        raise LockdownActive("the lockdown was raised again meanwhile; look at `switchtower lockdown status`")
    return epoch


def status(redis: Redis, ring: KeyRing) -> Status:
    """The flag's state as this key ring sees it."""
    raw: Any = redis.get(FLAG)
    epoch = int(redis.get(FLAG_EPOCH) or 0)
    flag = Flag(ring)
    opening = flag._opening(raw)
    if opening:
        return Status(False, opening.epoch, opening.reason, opening.user, opening.created)
    try:
        said = json.loads(raw or "")
        return Status(True, epoch, str(said["reason"]), str(said["by"]), int(said["at"]))
    except (ValueError, KeyError, TypeError):
        return Status(True, epoch, "the flag is missing or cannot be verified", "nobody", None)
