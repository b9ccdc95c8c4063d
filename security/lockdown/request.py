"""Asking a controller to release the lockdown: a sealed request, and its sealed answer."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field
from redis import Redis

from security.lockdown.places import LEADER, REQUESTS, answer_key
from switchtower.envelope import KeyRing, Role, Signer, admit, parse, unpack
from switchtower.errors import ReleaseRefused
from switchtower.jobs import FLAG_CHANNEL
from switchtower.messages import Hash, Message, Millis, new_identity, now_ms
from switchtower.queues import LOCKDOWN

LIFE_MS = 30_000
"""How long a request may wait for its controller."""
ANSWER_S = 120
MOST_WAITING = 1000
LIMIT = 8192
ASKED = "asked"
"""What is pushed when a request waits."""

Outcome = Literal[
    "released",
    "second_person",
    "wrong_code",
    "used_code",
    "rate_limited",
    "stale_epoch",
    "wrong_head",
    "not_locked",
    "replayed",
    "not_admitted",
]
Code = Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class ReleaseRequest(Message):
    """An operator's wish to release one lockdown, with a one-time code and the audit's head that was looked at."""

    kind: Literal["release_request"] = "release_request"
    epoch: int = Field(gt=0, lt=2**53)
    code: Code = Field(repr=False)
    head: Hash | None = None
    reason: str = Field(default="", max_length=500)


class ReleaseVerdict(Message):
    """The controller's answer to a request."""

    kind: Literal["release_verdict"] = "release_verdict"
    request: str
    outcome: Outcome
    text: str = Field(max_length=1000)
    until: Millis | None = None
    epoch: int | None = None


class Head(Protocol):
    """One signed head of the audit trail."""

    @property
    def hash(self) -> str: ...
    @property
    def seq(self) -> int: ...


class Heads(Protocol):
    """The mirror of the audit's signed heads, as a release needs it."""

    def latest(self) -> Head | None:
        """The newest head whose signature is good."""

    def find(self, digest: str) -> Head | None:
        """The head of this hash, where it was ever signed."""


def request_release(
    redis: Redis, ring: KeyRing, operator: Signer, wish: ReleaseRequest, timeout_s: float = 15
) -> ReleaseVerdict:
    """Hand the wish to the controller that leads and return its answer; raises `ReleaseRefused` where none comes."""
    if not redis.exists(LEADER):
        raise ReleaseRefused("no controller is alive; start one with `switchtower controller`")
    raw = operator.seal(wish, LOCKDOWN, wish.id, now_ms() + LIFE_MS).model_dump_json()
    with redis.pipeline() as pipe:
        pipe.rpush(REQUESTS, raw)
        pipe.ltrim(REQUESTS, -MOST_WAITING, -1)
        pipe.pexpire(REQUESTS, 2 * LIFE_MS)
        pipe.publish(FLAG_CHANNEL, ASKED)
        pipe.execute()
    answer = _answer(redis, wish.id, timeout_s)
    if answer is None:
        redis.lrem(REQUESTS, 0, raw)  # read later, its code would be wrong, and count as a guess
        raise ReleaseRefused("no controller answered; the lockdown stands as `switchtower lockdown status` says")
    return _verified(answer, ring, wish.id)


def wish(operator: Signer, epoch: int, code: str, head: str | None, reason: str) -> ReleaseRequest:
    """A request in the operator's name; raises `ReleaseRefused` where there is no epoch to release."""
    if epoch <= 0:
        raise ReleaseRefused("the lockdown has no number yet; a controller gives it one within a moment, look again")
    return ReleaseRequest(job=new_identity(), user=operator.kid, epoch=epoch, code=code, head=head, reason=reason)


def _answer(redis: Redis, request: str, timeout_s: float) -> str | None:
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        found: Any = redis.blpop([answer_key(request)], timeout=min(left, 1))
        if found:
            return str(found[1])
    return None


def _verified(raw: str, ring: KeyRing, request: str) -> ReleaseVerdict:
    envelope = parse(json.loads(raw), LIMIT)
    admit(envelope, ring, LOCKDOWN, request, {Role.CONTROLLER})
    return unpack(envelope, ReleaseVerdict)
