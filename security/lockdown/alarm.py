"""Raising the lockdown: a fact from the moment it is written, for which no controller is needed."""

from __future__ import annotations

import json

from pydantic import TypeAdapter, ValidationError
from redis import Redis

from security.audit.events import MAX_BACKLOG, AuditEvent, Fact, note
from switchtower.envelope import Signer
from switchtower.jobs import AUDIT, FLAG, FLAG_CHANNEL, FLAG_EPOCH
from switchtower.messages import new_identity, now_ms
from switchtower.models import Name

# Whatever stands in the keys, also what is no number or no text at all, must not keep a raise from being written.
_RAISE = f"""
local current = redis.pcall('GET', KEYS[2])
local epoch = type(current) == 'string' and tonumber(current) or 0
if not (epoch >= 0 and epoch < 9e15) then epoch = 0 end
epoch = math.floor(epoch) + 1
local value = cjson.decode(ARGV[1])
value['epoch'] = epoch
redis.call('SET', KEYS[1], cjson.encode(value))
redis.call('SET', KEYS[2], string.format('%d', epoch))
local said = 'locked ' .. string.format('%d', epoch)
redis.call('PUBLISH', KEYS[3], said)
redis.pcall('XADD', KEYS[4], 'MAXLEN', '~', {MAX_BACKLOG}, '*', 'e', ARGV[2])
return epoch
"""

_KEYS = [FLAG, FLAG_EPOCH, FLAG_CHANNEL, AUDIT]
_NAME = TypeAdapter(Name)


def engage(redis: Redis, reason: str, by: str, signer: Signer | None = None) -> int:
    """Halt the whole line at once; returns the new epoch.

    The raise and its entry for the audit are one step; the entry is sealed where the one who raises has a key.
    """
    said = locked_value(reason, by)
    return int(redis.eval(_RAISE, len(_KEYS), *_KEYS, said, note(raised(reason, by), signer)))


def locked_value(reason: str, by: str, epoch: int = 0) -> str:
    """What stands in the flag while the line is locked."""
    return json.dumps({"state": "locked", "reason": reason[:500], "by": by[:128], "at": now_ms(), "epoch": epoch})


def raised(reason: str, by: str) -> AuditEvent:
    """The audit's entry for a raise."""
    facts: dict[str, Fact] = {"reason": reason[:500], "by": by[:128]}
    return AuditEvent(job=new_identity(), topic="lockdown", outcome="locked", actor=actor(by), facts=facts)


def actor(by: str) -> str:
    """Who did something, as the audit can name them."""
    try:
        return _NAME.validate_python(by)
    except ValidationError:
        return "somebody"
