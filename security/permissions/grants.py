"""What a human has permitted: sealed by an operator, bound to one model and thing, over at a set time, revocable.

A grant opens nothing that policy keeps shut: it counts where a policy says `context has grant`, and no forbid yields
to it but those that say so. It stands in Redis, where others can write; so it is believed for its seal alone.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field
from redis import Redis

from security.permissions.cases import Case
from security.permissions.seals import enter, genuine
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.messages import Identity, Message, Millis, Permitted, now_ms
from switchtower.models import Name
from switchtower.queues import key

WIRE = "switchtower.permission.grant"
INDEX = key("permissions", "grants")


class Grant(Message):
    """An operator's word that a model may do something until `expires`; `user` is the operator's key."""

    kind: Literal["permission_grant"] = "permission_grant"
    model: Name
    action: Permitted
    resource: str = Field(min_length=1, max_length=4096)
    beneath: bool = Field(default=False, description="for a folder: everything in it too")
    bound: Identity | None = Field(default=None, description="the one job that it is good for")
    expires: Millis
    once: bool = False
    tainted: bool = Field(default=False, description="tainted context asked for it")
    question: Identity | None = None
    reason: str = Field(default="", max_length=500)

    def covers(self, case: Case) -> bool:
        """Whether it was given for this case; whether it is still good is asked elsewhere."""
        return (
            (self.model, self.action, self.tenant) == (case.model, case.action, case.tenant)
            and self.bound in (None, case.job)
            and (case.resource.is_in(self.resource) if self.beneath else case.resource.uid.id == self.resource)
        )


def supposed(case: Case) -> Grant:
    """The grant that a human would give if asked: what the policies permit with it may be asked for."""
    return Grant(
        job=case.job,
        tenant=case.tenant,
        model=case.model,
        action=cast("Permitted", case.action),
        resource=case.resource.uid.id,
        bound=case.job,
        expires=case.now + 1,
        tainted=case.tainted,
    )


class GrantBook:
    """The grants in Redis: `grant:<id>` holds one, `used:<id>` ends it, both until it expires."""

    def __init__(self, redis: Redis, ring: KeyRing) -> None:
        self._redis = redis
        self._ring = ring

    def all(self) -> list[Grant]:
        """Every grant that is still good, the next to expire first."""
        return self._read(INDEX)

    def covering(self, case: Case) -> list[Grant]:
        """The grants for this case; those that may be used again stand first."""
        found = [grant for grant in self._read(_index_of(case.model)) if grant.covers(case)]
        return sorted(found, key=lambda grant: grant.once)

    def find(self, identity: str) -> Grant | None:
        """The grant, if it is genuine and still good."""
        raw, used = self._redis.mget(_grant_key(identity), _used_key(identity))
        return None if used else self._opened(identity, raw)

    def use(self, grant: Grant, request: str) -> bool:
        """Whether the grant may be used now; one that is good once is used up by the first who asks."""
        if not grant.once:
            return self.find(grant.id) is not None
        return bool(self._redis.set(_used_key(grant.id), request, nx=True, pxat=grant.expires))

    def store(self, pipe: Redis, grant: Grant, operator: Signer) -> None:
        """Queue the commands that store the grant in the operator's name."""
        sealed = operator.seal(grant, WIRE, grant.id, grant.expires).model_dump_json()
        pipe.set(_grant_key(grant.id), sealed, pxat=grant.expires)
        for index in (INDEX, _index_of(grant.model)):
            enter(pipe, index, grant.id, grant.expires)

    def end(self, pipe: Redis, grant: Grant) -> None:
        """Queue the commands that revoke the grant; a copy that somebody kept is no good either."""
        pipe.set(_used_key(grant.id), "revoked", pxat=grant.expires)
        pipe.delete(_grant_key(grant.id))
        for index in (INDEX, _index_of(grant.model)):
            pipe.zrem(index, grant.id)

    def _read(self, index: str) -> list[Grant]:
        identities = cast("list[str]", self._redis.zrangebyscore(index, f"({now_ms()}", "+inf"))
        found = (self.find(identity) for identity in identities)
        return [grant for grant in found if grant]

    def _opened(self, identity: str, raw: Any) -> Grant | None:
        grant = genuine(raw, self._ring, WIRE, Role.OPERATOR, Grant, identity)
        return grant if grant is not None and grant.expires > now_ms() else None


def _index_of(model: str) -> str:
    return f"{INDEX}:{model}"


def _grant_key(identity: str) -> str:
    return key("permissions", "grant", identity)


def _used_key(identity: str) -> str:
    return key("permissions", "used", identity)
