"""The operator's side of loading and unloading: whether there is such a model, the order, and what comes of it."""

from __future__ import annotations

import time

from redis import Redis

from switchtower.errors import BaseModelError
from switchtower.registry import Vitals, look

_LOOK_S = 0.2


def serving(redis: Redis, model: str, heartbeat_s: float) -> list[Vitals]:
    """The living workers of a base model; raises `BaseModelError` where no worker has it."""
    found = look(redis)
    living = [one for one in found.workers if one.alive(heartbeat_s)]
    mine = [one for one in living if one.model == model]
    if mine:
        return mine
    adapters = {one.card.name: one.card.base for one in found.models if one.card.adapter}
    if model in adapters:
        raise BaseModelError(f"{model} is an adapter; what is loaded and unloaded is its base model, {adapters[model]}")
    there = ", ".join(sorted({one.model for one in living})) or "none"
    raise BaseModelError(f"no living worker has a base model {model!r}; there are: {there}")


def laggards(redis: Redis, model: str, state: str, heartbeat_s: float, patience_s: float) -> list[Vitals]:
    """The workers that are still not in this state when the patience has ended; none as soon as all are."""
    end = time.monotonic() + patience_s
    while left := [one for one in serving(redis, model, heartbeat_s) if one.state != state]:
        if time.monotonic() > end:
            break
        time.sleep(_LOOK_S)
    return left
