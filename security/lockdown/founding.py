"""The first opening of a system that nobody has used yet."""

from __future__ import annotations

from redis import Redis

from security.lockdown.memory import Memory, memory_store
from security.lockdown.places import controller_folder
from switchtower.jobs import FLAG_EPOCH
from switchtower.messages import now_ms
from switchtower.settings import Settings


def found(redis: Redis, settings: Settings, reason: str) -> bool:
    """Let the controller of this folder open an empty broker, if both are new; a lockdown of before stays.

    Whoever can write into the controller's folder can do this, and could do anything else with it.
    """
    store = memory_store(controller_folder(settings))
    if store.load() != Memory() or redis.exists(FLAG_EPOCH):
        return False
    epoch = now_ms()
    store.save(Memory(epoch=epoch, open=True, reason=reason, by="founder", since=epoch))
    return bool(redis.set(FLAG_EPOCH, epoch, nx=True))
