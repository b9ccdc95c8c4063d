"""Orders to load and unload a model: believed for an operator's seal alone, and an old one never over a newer one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from switchtower.envelope import Role, Signer
from switchtower.errors import EnvelopeRefused, PermissionRefused
from switchtower.jobs import ALERTS, AUDIT, REFUSALS
from switchtower.messages import StateChange, new_identity, now_ms
from switchtower.queues import LOCKDOWN, MODEL_STATE
from switchtower.registry import order_key
from tasks.admission import report
from tests.support.harness import Harness
from tests.support.wait import until
from workers.models.orders import STANDING_S, Orders, give

MODEL = "small"
MINUTE_MS = 60_000


@dataclass
class Post:
    """A worker that reads orders, and what it refused."""

    broker: Harness
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = self.broker.redis
        self.operator = self.broker.signer(Role.OPERATOR)
        self.worker = self.reader()

    def reader(self, model: str = MODEL) -> Orders:
        return Orders(self.redis, self.broker.ring, model, self._refuse)

    def _refuse(self, error: EnvelopeRefused) -> None:
        self.refused.append(type(error).__name__)

    @property
    def wanted(self) -> str:
        return self.worker.wanted()

    @property
    def standing(self) -> str:
        return self.redis.get(order_key(MODEL))

    def give(self, after: str, **more: Any) -> str:
        """An operator's order; returns it as it stands on the broker."""
        give(self.redis, self.operator, MODEL, after, **more)
        return self.standing

    def forge(self, signer: Signer, after: str = "unloaded", wire: str = MODEL_STATE, **more: Any) -> None:
        """Write what looks like an order, as whoever gets at the broker could."""
        change = StateChange(job=new_identity(), subject=MODEL, after=after).model_copy(update=more)
        sealed = signer.seal(change, wire, change.id, now_ms() + MINUTE_MS)
        self.redis.set(order_key(MODEL), sealed.model_dump_json(), ex=60)


@pytest.fixture
def post(quick_broker):
    return Post(quick_broker)


# -- following ------------------------------------------------------------------------------------


def test_without_an_order_a_model_is_loaded(post):
    assert post.wanted == "loaded"
    assert post.refused == []


def test_the_newest_order_counts(post):
    for after in ("unloaded", "loaded", "unloaded"):
        post.give(after)
        assert post.wanted == after
    assert post.refused == []


def test_an_order_is_for_one_model(post):
    post.give("unloaded")
    assert post.reader("another").wanted() == "loaded"


def test_an_order_stands_for_a_month_and_for_workers_that_start_later(post):
    post.give("unloaded")
    assert abs(post.redis.ttl(order_key(MODEL)) - STANDING_S) <= 1
    assert post.reader().wanted() == "unloaded"


def test_an_order_that_was_deleted_stands_until_its_time_is_over(post):
    """Who may delete keys loads no model by that."""
    post.give("unloaded", seconds=0.3)
    assert post.wanted == "unloaded"
    post.redis.delete(order_key(MODEL))
    assert post.wanted == "unloaded"
    until(lambda: post.wanted == "loaded", "the order's end")


# -- forging --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_another_roles_order_is_refused(post, role):
    post.forge(post.broker.signer(role))
    assert post.wanted == "loaded"
    assert post.refused == ["WrongRole"]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_another_role_cannot_give_one(post, role):
    with pytest.raises(PermissionRefused, match="only an operator"):
        give(post.redis, post.broker.signer(role), MODEL, "unloaded")
    assert post.standing is None


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"wire": LOCKDOWN}, "Retargeted"),
        ({"subject": "another"}, "Retargeted"),
        ({"after": "deleted"}, "InvalidMessage"),
    ],
)
def test_what_an_operator_sealed_for_something_else_is_no_order(post, more, error):
    post.forge(post.operator, **more)
    assert post.wanted == "loaded"
    assert post.refused == [error]


def test_a_stranger_is_not_known(post):
    post.forge(Signer.create(Role.OPERATOR))
    assert post.wanted == "loaded"
    assert post.refused == ["UnknownKey"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda said: {"payload": said["payload"].replace("unloaded", "loaded")}, "TamperedPayload"),
        (lambda said: {"exp": said["exp"] + MINUTE_MS}, "ForgedEnvelope"),
        (lambda said: {"iat": said["iat"] + 1}, "ForgedEnvelope"),
    ],
)
def test_a_changed_order_is_none(post, change, error):
    said = json.loads(post.give("unloaded"))
    post.redis.set(order_key(MODEL), json.dumps(said | change(said)), keepttl=True)
    assert post.wanted == "loaded"
    assert post.refused == [error]


@pytest.mark.parametrize("raw", ["", "null", "[]", "{", "[" * 10_000, '{"v": 1}', b"\xff\xfe"])
def test_bytes_that_are_no_order_are_refused(post, raw):
    post.redis.set(order_key(MODEL), raw, ex=60)
    assert post.wanted == "loaded"
    assert len(post.refused) == 1


# -- replaying ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("loaded", "unloaded"), ("unloaded", "loaded")])
def test_an_old_order_over_a_newer_one_changes_nothing(post, first, second):
    old = post.give(first)
    until(lambda: now_ms() > json.loads(old)["iat"], "the next millisecond")
    new = post.give(second)
    assert post.wanted == second
    post.redis.set(order_key(MODEL), old, ex=60)
    assert post.wanted == second
    assert post.refused == ["Replayed"]
    post.redis.set(order_key(MODEL), new, ex=60)
    assert post.wanted == second
    assert post.refused == ["Replayed"]


def test_an_order_whose_time_is_over_is_refused(post):
    old = post.give("unloaded", seconds=0.01)
    until(lambda: now_ms() >= json.loads(old)["exp"], "its end")
    post.redis.set(order_key(MODEL), old, ex=60)
    assert post.wanted == "loaded"
    assert post.refused == ["EnvelopeExpired"]


# -- telling --------------------------------------------------------------------------------------


def test_a_refusal_is_counted_and_told_once(post):
    """Although the worker looks at every heartbeat."""
    runtime = post.broker
    telling = Orders(post.redis, post.broker.ring, MODEL, partial(report, Teller(runtime), MODEL_STATE))
    post.forge(post.broker.signer(Role.GPU))
    for _ in range(3):
        telling.wanted()
    assert post.redis.hgetall(REFUSALS) == {"WrongRole": "1"}
    assert [json.loads(one["e"])["source"] for _, one in post.redis.xrange(ALERTS)] == [MODEL_STATE]


@dataclass
class Teller:
    """As much of a worker's runtime as a report needs."""

    broker: Harness

    @property
    def ledger(self) -> Any:
        return self.broker.client.ledger

    @property
    def signer(self) -> Signer:
        return self.broker.signer(Role.GPU)

    role = Role.GPU


def test_an_order_is_audited_in_the_operators_name(post):
    post.give("unloaded", reason="a new card")
    note = json.loads(post.redis.xrange(AUDIT)[-1][1]["e"])
    event = json.loads(note["payload"])
    assert (note["role"], event["topic"], event["outcome"]) == ("operator", "state", "unloaded")
    assert event["actor"] == post.operator.kid
    assert (event["facts"]["model"], event["facts"]["reason"]) == (MODEL, "a new card")
