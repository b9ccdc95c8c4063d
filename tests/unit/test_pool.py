"""The pool: every known model once, dead ones too, each with its least busy living worker."""

from __future__ import annotations

from itertools import permutations

import pytest

from router.pool import Pool
from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, Provider
from switchtower.registry import Announcement

HEARTBEAT_S = 1.0


def announcement(name, worker="w", age_ms=0, busy=0, able=(Capability.GENERAL,)):
    card = ModelCard(name=name, provider=Provider.LOCAL, capabilities=frozenset(able))
    return Announcement(card=card, worker=worker, seen=now_ms() - age_ms, busy=busy)


def pool(*announcements):
    return Pool(lambda: announcements, HEARTBEAT_S, cache_s=60)


def facts(candidates):
    return {one.card.name: (one.available, one.busy) for one in candidates}


def test_a_model_that_is_announced_is_available():
    assert facts(pool(announcement("a")).candidates()) == {"a": (True, 0)}


def test_a_dead_model_is_known_but_not_available():
    assert facts(pool(announcement("a", age_ms=60_000)).candidates()) == {"a": (False, 0)}


def test_a_few_missed_heartbeats_are_not_death():
    assert facts(pool(announcement("a", age_ms=3_000)).candidates()) == {"a": (True, 0)}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_least_busy_living_worker_stands_for_the_model(order):
    workers = [
        announcement("a", "busy", busy=3),
        announcement("a", "idle", busy=1),
        announcement("a", "dead", busy=0, age_ms=60_000),
    ]
    assert facts(pool(*(workers[place] for place in order)).candidates()) == {"a": (True, 1)}


def test_the_index_is_over_capabilities():
    known = pool(
        announcement("a", able=[Capability.CODE]), announcement("b", able=[Capability.CODE, Capability.CONTENT])
    )
    index = known.index()
    assert set(index) == set(Capability)
    assert [one.card.name for one in index[Capability.CODE]] == ["a", "b"]
    assert [one.card.name for one in index[Capability.CONTENT]] == ["b"]
    assert index[Capability.SECURITY] == ()


@pytest.mark.parametrize(("cache_s", "reads"), [(60, 1), (0, 3)])
def test_the_registry_is_read_at_most_once_in_a_while(cache_s, reads):
    seen = []
    known = Pool(lambda: seen.append(1) or [announcement("a")], HEARTBEAT_S, cache_s)
    for _ in range(3):
        known.candidates()
    assert len(seen) == reads


def test_nobody_announced_is_nobody():
    assert pool().candidates() == ()


@pytest.mark.parametrize("order", [1, -1])
def test_a_model_that_was_unloaded_is_not_available_unless_another_worker_has_it(order):
    unloaded = announcement("a").model_copy(update={"loaded": False})
    assert facts(pool(unloaded).candidates()) == {"a": (False, 0)}
    both = [unloaded, announcement("a", "other", busy=5)][::order]
    assert facts(pool(*both).candidates()) == {"a": (True, 5)}
