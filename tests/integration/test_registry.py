"""The registry of models: who serves keeps it tidy, and who reads changes nothing."""

from __future__ import annotations

from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, Provider
from switchtower.registry import FORGET_MS, MODELS, Announcement, announce, announced, succeed


def announcement(name, worker="w", age_ms=0):
    card = ModelCard(name=name, provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))
    return Announcement(card=card, worker=worker, seen=now_ms() - age_ms)


def test_what_is_too_old_or_unreadable_is_passed_over_and_left(quick_broker):
    redis = quick_broker.redis
    announce(redis, [announcement("new"), announcement("old", age_ms=FORGET_MS + 1)])
    redis.hset(MODELS, "broken@w", "{}")
    assert [one.card.name for one in announced(redis)] == ["new"]
    assert redis.hlen(MODELS) == 3


def test_a_worker_that_comes_removes_what_nobody_could_use(quick_broker):
    """The unreadable, the forgotten, and the dead ones whose models it serves itself."""
    redis = quick_broker.redis
    announce(redis, [announcement("mine", "dead", 60_000), announcement("theirs", "dead", 60_000)])
    announce(redis, [announcement("mine", "living"), announcement("old", age_ms=FORGET_MS + 1)])
    redis.hset(MODELS, "broken@w", "{}")
    succeed(redis, [announcement("mine", "new")], heartbeat_s=1)
    assert set(redis.hkeys(MODELS)) == {"mine@living", "mine@new", "theirs@dead"}
