"""The registry of models: who serves keeps it tidy, who reads changes nothing, and people can read it."""

from __future__ import annotations

from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, Provider
from switchtower.overview import model_table, worker_table
from switchtower.registry import (
    FORGET_MS,
    MODELS,
    AdapterSlot,
    Announcement,
    Vitals,
    announce,
    announced,
    look,
    succeed,
)


def announcement(name, worker="w", age_ms=0, **more):
    card = ModelCard(name=name, provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))
    return Announcement(card=card, worker=worker, seen=now_ms() - age_ms, **more)


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


# -- how workers are ------------------------------------------------------------------------------


def about(worker="w", model="base", age_ms=0, **more):
    return Vitals(worker=worker, model=model, seen=now_ms() - age_ms, **more)


FULL = about(
    adapters=(AdapterSlot(name="intent", version="1", leases=2, pinned=True), AdapterSlot(name="notes", version="1")),
    rows=3,
    max_batch=16,
    waiting=4,
    tokens_per_s=512.3,
    queue_wait_s=0.02,
    step_s=0.007,
    rss_bytes=10**9,
    kv_cache_bytes=5 * 10**7,
    gpu_bytes=6 * 10**9,
    gpu_total_bytes=8 * 10**9,
    gpu_celsius=61,
)


def test_a_beat_is_one_write_however_many_models(quick_broker):
    before = quick_broker.redis.info("commandstats").get("cmdstat_hset", {"calls": 0})["calls"]
    announce(quick_broker.redis, [announcement(f"m{number}") for number in range(20)], FULL)
    assert quick_broker.redis.info("commandstats")["cmdstat_hset"]["calls"] == before + 1
    assert look(quick_broker.redis).workers == [FULL]
    assert len(announced(quick_broker.redis)) == 20
    assert quick_broker.redis.hlen(MODELS) == 21


def test_what_an_older_release_wrote_is_still_read(quick_broker):
    old = announcement("old").model_dump_json(exclude={"loaded"})
    quick_broker.redis.hset(MODELS, "old@w", old)
    assert [one.loaded for one in announced(quick_broker.redis)] == [True]
    assert look(quick_broker.redis).workers == []


def test_a_loaded_model_is_announced_as_before(quick_broker):
    """So that a router of an older release, which knows no more fields, still finds it."""
    announce(quick_broker.redis, [announcement("m"), announcement("n", loaded=False)])
    assert "loaded" not in quick_broker.redis.hget(MODELS, "m@w")
    assert [one.loaded for one in announced(quick_broker.redis)] == [True, False]


def test_who_succeeds_a_dead_worker_removes_its_vitals(quick_broker):
    redis = quick_broker.redis
    announce(redis, [], about("dead", "base", age_ms=60_000))
    announce(redis, [], about("stranger", "another", age_ms=60_000))
    succeed(redis, [announcement("base", "new")], 1, about("new"))
    assert {one.worker for one in look(redis).workers} == {"new", "stranger"}


def cells(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_the_tables_are_for_people(quick_broker):
    fresh = FULL.model_copy(update={"seen": now_ms()})
    announce(quick_broker.redis, [announcement("base", busy=2), announcement("gone", loaded=False)], fresh)
    announce(quick_broker.redis, [], about("v", state="unloaded", trouble="no memory"))
    announce(quick_broker.redis, [], about("x", age_ms=60_000))
    assert [row[0] + row[4] + row[5] + row[6] for row in cells(model_table(quick_broker.client))] == [
        "baseyesyes2",
        "goneyesno0",
    ]
    doing = ["3/16", "4", "512", "20 ms", "7 ms", "1.0 GB", "50.0 MB", "6.0 GB of 8.0 GB, 61 °C"]
    nothing = ("-",) * 9
    assert cells(worker_table(quick_broker.client)) == [
        ("v", "base", "unloaded: no memory", *nothing),
        ("w", "base", "loaded", *doing, "intent* (2), notes (0)"),
        ("x", "base", "dead", *nothing),
    ]
