"""Which of the controllers leads, and the one step in which the leader alone may change the flag."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

from redis import Redis

from security.audit.events import MAX_BACKLOG
from security.lockdown.judgement import Sight
from security.lockdown.places import CONTROLLERS, LEADER
from switchtower.jobs import AUDIT, FLAG, FLAG_CHANNEL, FLAG_EPOCH
from switchtower.messages import now_ms

_FORGET_MS = 3_600_000

_HOLD = """
local leader = redis.pcall('GET', KEYS[1])
if type(leader) == 'string' and leader ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_LEAVE = "if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

# What was seen must still stand there: nothing is ever written over a raise that came in between.
_CHANGE = f"""
local function text(name)
  local value = redis.pcall('GET', name)
  return type(value) == 'string' and value or ''
end
if text(KEYS[3]) ~= ARGV[1] or text(KEYS[1]) ~= ARGV[2] or text(KEYS[2]) ~= ARGV[3] then return 0 end
if ARGV[6] == '0' then redis.call('SET', KEYS[1], ARGV[4])
else redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[6]) end
redis.call('SET', KEYS[2], ARGV[5])
if ARGV[7] ~= '' then redis.call('PUBLISH', KEYS[4], ARGV[7] .. ' ' .. ARGV[5]) end
for i = 8, #ARGV do redis.pcall('XADD', KEYS[5], 'MAXLEN', '~', {MAX_BACKLOG}, '*', 'e', ARGV[i]) end
return 1
"""


class Leadership:
    """One controller's claim to lead; it runs out when it is not held on to."""

    def __init__(self, redis: Redis, lifetime_ms: int) -> None:
        self._redis = redis
        self._lifetime_ms = lifetime_ms
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._token = f"{self.name} {secrets.token_hex(8)}"

    def hold(self) -> bool:
        """Whether this controller leads now; it does where nobody else does."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.eval(_HOLD, 1, LEADER, self._token, self._lifetime_ms)
            pipe.zadd(CONTROLLERS, {self.name: now_ms()})
            pipe.zremrangebyscore(CONTROLLERS, 0, now_ms() - _FORGET_MS)
            return bool(pipe.execute()[0])

    def leave(self) -> None:
        """Let another one lead at once."""
        self._redis.eval(_LEAVE, 1, LEADER, self._token)
        self._redis.zrem(CONTROLLERS, self.name)

    def change(
        self, sight: Sight, flag: str, epoch: int, life_ms: int = 0, push: str = "", notes: Sequence[str] = ()
    ) -> bool:
        """Replace flag and epoch, with notes for the audit; false where another leads or what was seen has changed."""
        keys = [FLAG, FLAG_EPOCH, LEADER, FLAG_CHANNEL, AUDIT]
        args: list[Any] = [self._token, sight.raw, sight.epoch, flag, epoch, life_ms, push, *notes]
        return bool(self._redis.eval(_CHANGE, len(keys), *keys, *args))
