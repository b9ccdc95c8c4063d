"""The ledger's atomic steps, as Lua for Redis ≥ 7 and Valkey."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from redis import Redis
from redis.commands.core import Script

NAMES = ("submit", "claim", "emit", "advance", "finish", "release", "renew")


@cache
def source(name: str) -> str:
    """The Lua text of a script."""
    return (files(__name__) / f"{name}.lua").read_text()


def register(redis: Redis) -> dict[str, Script]:
    """Every script, bound to this connection pool."""
    return {name: redis.register_script(source(name)) for name in NAMES}
