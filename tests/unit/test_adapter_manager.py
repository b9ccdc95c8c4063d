"""The adapter manager, job by job: who gets which slot and when."""

from __future__ import annotations

import pytest

from switchtower.errors import AdapterBusy, WorkerStopping
from tests.support.stage import AGE, RESIDENCY, Stage


@pytest.fixture
def stage():
    return Stage("a", "b", "c", "d")


# Hits and misses


def test_a_wish_waits_for_nothing(stage):
    ticket = stage.manager.want("a")
    assert not stage.shelf.reads
    assert not stage.bank.calls
    assert ticket.poll() is None


def test_a_miss_takes_a_free_slot(stage):
    lease = stage.lease("a")
    assert stage.held() == {1: "a"}
    assert (lease.slot, lease.version) == (1, stage.bank.held[1])


def test_a_hit_is_admitted_at_once_and_reads_nothing(stage):
    stage.serve("a")
    assert stage.manager.want("a").poll() is not None
    assert stage.shelf.reads["a"] == 1
    assert not stage.crew.reads
    assert len(stage.loads()) == 1


def test_whoever_sleeps_is_woken_when_the_adapter_has_come(stage):
    before = stage.woken
    stage.want("a")
    assert stage.woken > before


def test_the_least_recently_used_leaves(stage):
    stage.serve("a", "b", "a")
    stage.wait(RESIDENCY)
    stage.serve("c")
    assert stage.held() == {1: "a", 2: "c"}


def test_one_in_use_is_never_evicted(stage):
    held = [stage.lease("a"), stage.lease("b")]
    ticket = stage.want("c")
    assert ticket.poll() is None
    assert stage.held() == {1: "a", 2: "b"}
    stage.wait(RESIDENCY)
    stage.release(held[1])
    assert stage.held() == {1: "a", 2: "c"}
    assert ticket.poll() is not None


def test_one_that_somebody_waits_for_is_not_evicted_before_it_was_used(stage):
    waiting = stage.want("a")
    stage.lease("b")
    stage.wait(RESIDENCY)
    stage.want("c")
    assert waiting.poll() is not None


def test_a_lease_is_given_back_once(stage):
    one, two = stage.lease("a"), stage.lease("a")
    one.release()
    one.release()
    assert [fact.leases for fact in stage.manager.facts()] == [1]
    two.release()


def test_an_admitted_ticket_keeps_its_lease(stage):
    ticket = stage.want("a")
    lease = ticket.poll()
    ticket.cancel()
    assert ticket.poll() is lease
    assert [fact.leases for fact in stage.manager.facts()] == [1]


def test_a_cancelled_ticket_is_never_admitted(stage):
    ticket = stage.manager.want("a")
    ticket.cancel()
    stage.crew.run()
    assert ticket.poll() is None
    assert not stage.shelf.reads, "nobody wants it any more"
    assert stage.manager.facts() == []


def test_a_ticket_cancelled_while_its_adapter_is_read_leaves_nothing_behind(stage):
    ticket = stage.manager.want("a")
    stage.shelf.reading = lambda name: ticket.cancel()
    stage.crew.run()
    assert ticket.poll() is None
    assert stage.manager.facts() == []


def test_a_ticket_cancelled_while_it_waits_takes_no_slot(stage):
    held = [stage.lease("a"), stage.lease("b")]
    ticket = stage.want("c")
    ticket.cancel()
    stage.wait(RESIDENCY)
    stage.release(held[0])
    assert stage.held() == {1: "a", 2: "b"}


# Order and fairness


def test_who_has_waited_longest_gets_the_next_slot(stage):
    held = [stage.lease("a"), stage.lease("b")]
    first, second = stage.want("c"), stage.want("d")
    stage.wait(RESIDENCY)
    stage.release(held[0])
    assert first.poll() is not None
    assert second.poll() is None


def test_nobody_waits_behind_a_strangers_long_job(stage):
    stage.lease("a")
    short = stage.lease("b")
    ticket = stage.want("c")
    stage.wait(AGE)
    stage.release(short)
    assert ticket.poll() is not None


def test_the_young_do_not_hold_up_hits(stage):
    stage.lease("a"), stage.lease("b")
    stage.want("c")
    stage.wait(AGE * 0.9)
    assert stage.want("a").poll() is not None
    assert stage.want("b").poll() is not None


def test_past_the_age_limit_the_least_recently_wanted_slot_takes_no_more_rows(stage):
    lease_a, _ = stage.lease("a"), stage.lease("b")
    ticket = stage.want("c")
    stage.wait(AGE)
    late_a, late_b = stage.want("a"), stage.want("b")
    assert late_a.poll() is None
    assert late_b.poll() is not None
    stage.release(lease_a)
    assert stage.held() == {1: "c", 2: "b"}
    assert ticket.poll() is not None
    assert late_a.poll() is None


def test_twice_past_the_age_limit_a_second_slot_is_closed(stage):
    stage.lease("a")
    lease_b = stage.lease("b")
    ticket = stage.want("c")
    stage.wait(2 * AGE)
    assert stage.want("b").poll() is None
    stage.release(lease_b)
    assert ticket.poll() is not None


def test_a_closed_slot_opens_again_when_nobody_needs_it(stage):
    stage.lease("a"), stage.lease("b")
    ticket = stage.want("c")
    stage.wait(AGE)
    late = stage.want("a")
    assert late.poll() is None
    woken = stage.woken
    ticket.cancel()
    assert stage.woken > woken
    assert late.poll() is not None


def test_those_who_came_later_and_wait_do_not_keep_a_slot_open(stage):
    lease = stage.lease("a")
    stage.lease("b")
    ticket = stage.want("c")
    late = [stage.want("a"), stage.want("b")]
    stage.wait(AGE)
    assert late[0].poll() is None
    stage.release(lease)
    assert ticket.poll() is not None


def test_slots_open_again_as_soon_as_one_of_them_was_enough(stage):
    lease = stage.lease("a")
    stage.lease("b")
    stage.want("c")
    stage.wait(2 * AGE)
    late = stage.want("b")
    assert late.poll() is None
    stage.bank.rows[lease.slot] -= 1
    lease.release()
    assert stage.held()[1] == "a", "c is not in its slot yet"
    assert late.poll() is not None


def test_a_slot_is_not_closed_to_those_who_came_before(stage):
    for name in "ab":
        stage.lease(name)
    earlier = [stage.want("a"), stage.want("b")]
    stage.want("c")
    stage.wait(3 * AGE)
    assert all(ticket.poll() for ticket in earlier)


def test_those_a_closed_slot_turned_away_are_served_in_their_turn(stage):
    lease_a, lease_b = stage.lease("a"), stage.lease("b")
    ticket = stage.want("c")
    stage.wait(AGE)
    late = stage.want("a")
    stage.release(lease_a)
    assert ticket.poll() is not None
    stage.wait(RESIDENCY)
    stage.release(lease_b)
    assert late.poll() is not None
    assert stage.held() == {1: "c", 2: "a"}


def test_one_that_has_only_just_come_stays_a_while(stage):
    stage.serve("a", "b")
    ticket = stage.want("c")
    assert ticket.poll() is None
    stage.wait(RESIDENCY)
    assert ticket.poll() is not None


def test_age_goes_before_residency():
    stage = Stage("a", "b", slots=1)
    lease = stage.lease("a")
    ticket = stage.want("b")
    stage.wait(AGE)
    stage.release(lease)
    assert ticket.poll() is not None
    late = stage.want("a")
    assert stage.held() == {1: "b"}
    assert late.poll() is None


def test_under_endless_hits_everybody_is_served():
    names = [f"n{number}" for number in range(8)]
    stage = Stage(*names, slots=2)
    rows, waiting, longest = [], [], {}
    for step in range(3000):
        if step % 3 == 0:
            waiting.append((step, stage.manager.want(names[(step // 3) % 2])))
        if step % 50 == 0:
            waiting.append((step, stage.manager.want(names[2 + (step // 50) % 6])))
        stage.wait(0.5)
        for entry in list(waiting):
            if (lease := entry[1].poll()) is not None:
                waiting.remove(entry)
                stage.bank.rows[lease.slot] += 1
                rows.append((step + 20, lease))
                longest[entry[1].name] = max(longest.get(entry[1].name, 0), step - entry[0])
        for row in [row for row in rows if row[0] <= step]:
            rows.remove(row)
            stage.release(row[1])
    assert set(longest) == set(names)
    assert max(longest.values()) <= 4 * (AGE / 0.5 + 20), longest


# Memory


def test_what_left_its_slot_comes_back_without_the_disk(stage):
    for name in "abca":
        stage.serve(name)
        stage.wait(RESIDENCY)
    assert stage.shelf.reads["a"] == 1
    assert stage.held() == {1: "c", 2: "a"}


def test_without_memory_beside_the_slots_all_still_works():
    stage = Stage("a", "b", "c", slots=1, host_mb=0)
    for name in "abcabc":
        stage.serve(name)
        stage.wait(RESIDENCY)
    assert stage.held() == {1: "c"}


def test_nothing_stays_of_names_that_somebody_made_up(stage):
    for number in range(50):
        stage.want(f"made-up-{number}")
    assert stage.manager.facts() == []
    kept = [*vars(stage.manager).values(), *vars(stage.manager._inquiries).values()]
    assert not any(one for one in kept if isinstance(one, dict | set))


# Facts and the end


def test_facts_tell_who_is_where(stage):
    stage.manager.pin("a")
    stage.lease("a"), stage.lease("b")
    stage.want("c")
    facts = stage.manager.facts()
    assert [(fact.name, fact.slot, fact.leases, fact.pinned, fact.waiting) for fact in facts] == [
        ("c", 0, 0, False, 1),
        ("a", 1, 1, True, 0),
        ("b", 2, 1, False, 0),
    ]
    assert all(fact.version.startswith(f"{fact.name}-") for fact in facts)
    assert facts[1].loaded_at == facts[1].last_used == stage.clock.now


def test_closing_hands_back_who_waits_and_lets_rows_finish(stage):
    lease = stage.lease("a")
    waiting, unread = stage.want("b"), stage.manager.want("c")
    stage.manager.close()
    for ticket in (waiting, unread):
        with pytest.raises(WorkerStopping):
            ticket.poll()
    with pytest.raises(WorkerStopping):
        stage.manager.want("a")
    lease.release()


def test_nothing_is_begun_after_the_end(stage):
    lease = stage.lease("a")
    with pytest.raises(AdapterBusy):
        stage.manager.unload("a", 0)
    stage.manager.close()
    lease.release()
    assert not stage.crew.places
