"""An operator's orders to load and unload base models, for every worker that serves them.

An order is a sealed `StateChange` that stands on the broker until the next one replaces it or its time is over. Who
can write there may be anyone; so it counts for its seal alone, and for a worker that has followed a newer one an
older one is a replay. Where no order is good, a model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from security.audit.events import event, put
from switchtower.envelope import KeyRing, Role, Signer, admit, parse, unpack
from switchtower.errors import (
    EnvelopeRefused,
    InvalidMessage,
    MalformedEnvelope,
    PermissionRefused,
    Replayed,
    Retargeted,
    WrongIdentity,
)
from switchtower.messages import StateChange, new_identity, now_ms
from switchtower.queues import MODEL_STATE
from switchtower.registry import LOADED, UNLOADED, order_key

LIMIT = 8192
"""Characters of an order's payload."""
STANDING_S = 30 * 86_400
"""How long an order stands where nothing else is said; then the model is loaded again."""

Wanted = Literal["loaded", "unloaded"]


@dataclass(frozen=True)
class Order:
    """What an operator wants, when it was sealed, and until when it is good (ms)."""

    change: StateChange
    sealed: int
    until: int


def give(
    redis: Redis, operator: Signer, model: str, after: Wanted, *, reason: str = "", seconds: float = STANDING_S
) -> StateChange:
    """Put an order in the place of the last one, and note it for the audit; raises where the key is no operator's."""
    if operator.role is not Role.OPERATOR:
        raise PermissionRefused(f"only an operator may load and unload models, and this is the {operator.role} key")
    change = StateChange(job=new_identity(), user=operator.kid, subject=model, after=after, reason=reason)
    until = now_ms() + int(seconds * 1000)
    sealed = operator.seal(change, MODEL_STATE, change.id, until).model_dump_json()
    with redis.pipeline() as pipe:
        pipe.set(order_key(model), sealed, pxat=until)
        facts = {"model": model, "reason": reason, "until": until}
        put(pipe, event("state", after, operator.kid, change, facts), operator)
        pipe.execute()
    return change


def opened(raw: str, ring: KeyRing, model: str) -> Order:
    """The order in this text; raises an `EnvelopeRefused` where it is not an operator's for this model, and in time."""
    try:
        said: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedEnvelope("an order that is no JSON") from None
    envelope = parse(said, LIMIT)
    admit(envelope, ring, MODEL_STATE, envelope.id, {Role.OPERATOR})
    change = unpack(envelope, StateChange)
    if change.id != envelope.id:
        raise WrongIdentity("the order was sealed under another order's id")
    if change.subject != model:
        raise Retargeted("the order is for another model")
    if change.after not in {LOADED, UNLOADED}:
        raise InvalidMessage(f"a model is ordered to be {LOADED} or {UNLOADED}")
    return Order(change, envelope.iat, envelope.exp)


class Orders:
    """What the operators want of one model, as a worker learns it; `refuse` is told of each order that is none."""

    def __init__(self, redis: Redis, ring: KeyRing, model: str, refuse: Callable[[EnvelopeRefused], object]) -> None:
        self._redis, self._ring, self._model, self._refuse = redis, ring, model, refuse
        self._seen: str | None = None
        self._order: Order | None = None

    def wanted(self) -> Wanted:
        """What the newest order says; one that was deleted stands until its time is over."""
        raw = self._read()
        if raw is not None and raw != self._seen:
            self._seen = raw
            self._take(raw)
        order = self._order
        return UNLOADED if order and order.change.after == UNLOADED and order.until > now_ms() else LOADED

    def _read(self) -> str | None:
        try:
            found: Any = self._redis.get(order_key(self._model))
        except UnicodeDecodeError:
            return ""
        return found if found is None else str(found)

    def _take(self, raw: str) -> None:
        try:
            order = opened(raw, self._ring, self._model)
            if self._order and order.sealed < self._order.sealed:
                raise Replayed("an older order was put over a newer one")
        except EnvelopeRefused as refusal:
            self._refuse(refusal)
        else:
            self._order = order
