"""The adapter manager, job by job: who gets which slot and when, and what nobody may do to anybody else."""

from __future__ import annotations

import pytest

from switchtower.errors import (
    AdapterBusy,
    AdapterCorrupt,
    AdapterError,
    AdapterNotFound,
    AdapterSlotsPinned,
    AdapterUnloaded,
    AdapterUnsupported,
    WorkerStopping,
)
from tests.support.shelves import LINEARS, HandClock, PaperShelf, RecordingBank, StepCrew
from workers.adapters.manager import AdapterManager

AGE, RESIDENCY = 10.0, 1.0


class Stage:
    """A manager whose threads and clock the test leads."""

    def __init__(self, *names, slots=2, host_mb=1, pinned=()):
        self.shelf = PaperShelf(*names)
        self.bank = RecordingBank(slots)
        self.crew = StepCrew()
        self.clock = HandClock()
        self.woken = 0
        self.manager = AdapterManager(
            self.shelf, self.bank, LINEARS, host_mb=host_mb, pinned=pinned, age_s=AGE, residency_s=RESIDENCY,
            clock=self.clock, wake=self._wake, crew=self.crew,
        )  # fmt: skip

    def _wake(self):
        self.woken += 1

    def want(self, name):
        """A ticket after all its jobs have run."""
        ticket = self.manager.want(name)
        self.crew.run()
        return ticket

    def lease(self, name):
        lease = self.want(name).poll()
        assert lease is not None
        self.bank.rows[lease.slot] += 1
        return lease

    def release(self, lease):
        self.bank.rows[lease.slot] -= 1
        lease.release()
        self.crew.run()

    def serve(self, *names):
        for name in names:
            self.release(self.lease(name))

    def wait(self, seconds):
        self.clock.now += seconds
        if self.crew.at is not None and self.crew.at <= self.clock.now:
            self.manager.tick()
        self.crew.run()

    def held(self):
        return {slot: version.rpartition("-")[0] for slot, version in sorted(self.bank.held.items())}

    def loads(self):
        return [call for call in self.bank.calls if call[0] == "load"]


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


# Pinning


def test_a_pinned_adapter_stays():
    stage = Stage("a", "b", "c", pinned=["a"])
    stage.serve("a", "b")
    stage.wait(RESIDENCY)
    stage.serve("c")
    assert stage.held() == {1: "a", 2: "c"}
    stage.manager.unpin("a")
    stage.wait(RESIDENCY)
    stage.serve("c", "b")
    assert stage.held() == {1: "b", 2: "c"}


def test_a_pinned_slot_is_never_closed():
    stage = Stage("a", "b", "c", pinned=["a"])
    stage.lease("a"), stage.lease("b")
    stage.want("c")
    stage.wait(AGE)
    assert stage.want("b").poll() is None
    assert stage.want("a").poll() is not None


def test_a_slot_that_is_pinned_while_closed_opens_again(stage):
    stage.lease("a"), stage.lease("b")
    stage.want("c")
    stage.wait(AGE)
    late = stage.want("a")
    stage.manager.pin("a")
    assert late.poll() is not None


def test_where_all_slots_are_pinned_a_stranger_is_told_so():
    stage = Stage("a", "b", "c", pinned=["a", "b"])
    with pytest.raises(AdapterSlotsPinned, match=r"c: .*MAX_CONCURRENT_ADAPTERS"):
        stage.want("c").poll()
    stage.serve("a", "b")


def test_one_who_waits_is_told_when_the_last_slot_is_pinned(stage):
    stage.lease("a"), stage.lease("b")
    ticket = stage.want("c")
    stage.manager.pin("a")
    stage.manager.pin("b")
    with pytest.raises(AdapterSlotsPinned):
        ticket.poll()


def test_more_pins_than_slots_are_refused(stage):
    stage.manager.pin("a")
    stage.manager.pin("b")
    stage.manager.pin("b")
    with pytest.raises(AdapterSlotsPinned):
        stage.manager.pin("c")


# New versions


def test_a_new_version_loads_beside_the_old_one_which_finishes(stage):
    old = stage.lease("a")
    stage.shelf.put("a", version=2)
    new = stage.lease("a")
    assert (new.slot, old.slot) == (2, 1)
    assert new.version != old.version
    assert stage.bank.held == {1: old.version, 2: new.version}
    stage.release(old)
    assert stage.bank.held == {2: new.version}


def test_a_wish_is_for_the_version_of_its_moment(stage):
    stage.serve("a")
    early = stage.manager.want("a")
    stage.shelf.put("a", version=2)
    late = stage.manager.want("a")
    stage.crew.run()
    first, second = early.poll(), late.poll()
    assert first.version != second.version


def test_an_idle_old_version_leaves_its_slot_at_once(stage):
    stage.serve("a")
    stage.shelf.put("a", version=2)
    stage.serve("a")
    assert list(stage.bank.held) == [2]


def test_a_new_version_of_a_pinned_adapter_takes_the_old_ones_slot_when_there_is_no_other():
    stage = Stage("a", slots=1, pinned=["a"])
    old = stage.lease("a")
    stage.shelf.put("a", version=2)
    ticket = stage.want("a")
    assert ticket.poll() is None
    stage.release(old)
    assert ticket.poll().version != old.version


def test_a_rollback_is_served_from_memory(stage):
    stage.serve("a")
    stage.shelf.put("a", version=2)
    stage.serve("a")
    stage.shelf.put("a", version=1)
    stage.serve("a")
    assert stage.shelf.reads["a"] == 2
    assert len(stage.loads()) == 3


def test_whoever_waits_for_a_version_that_is_gone_gets_the_present_one():
    stage = Stage("a", "b", slots=1, host_mb=0)
    lease = stage.lease("b")
    ticket = stage.want("a")
    stage.shelf.put("a", version=2)
    stage.wait(RESIDENCY)
    stage.release(lease)
    assert ticket.poll().version == stage.bank.held[1]
    assert ticket.version == stage.bank.held[1]


def test_whoever_gets_the_present_one_instead_keeps_the_place_in_the_queue():
    stage = Stage("a", "b", "c", slots=1, host_mb=0)
    lease = stage.lease("b")
    first = stage.want("a")
    second = stage.want("c")
    stage.shelf.put("a", version=2)
    stage.want("a")
    stage.wait(RESIDENCY)
    stage.release(lease)
    assert first.poll() is not None
    assert second.poll() is None


def test_nobody_overtakes_those_whose_card_is_still_being_read(stage):
    stage.serve("a")
    stage.shelf.put("a", version=2)
    tickets = [stage.manager.want("a")]

    def come_while_it_is_read(name):
        stage.shelf.reading = lambda name: None
        tickets.append(stage.manager.want("a"))

    def come_when_it_was_read():
        stage.manager._wake = lambda: None
        while stage.crew.places:
            stage.crew.places.pop(0)()
        tickets.append(stage.manager.want("a"))
        assert [ticket.poll() is not None for ticket in tickets] == [True, False, False]

    stage.shelf.reading, stage.manager._wake = come_while_it_is_read, come_when_it_was_read
    stage.crew.run()
    assert len(tickets) == 3
    assert all(ticket.poll() for ticket in tickets)


def test_a_touched_card_that_says_the_same_loads_nothing(stage):
    stage.serve("a")
    stage.shelf.put("a", version=1)
    stage.serve("a")
    assert (stage.shelf.reads["a"], len(stage.loads())) == (1, 1)


# Errors


def test_an_error_is_its_own_adapters_alone(stage):
    stage.shelf.spoil("a", AdapterCorrupt("a: torn"))
    bad, good = stage.manager.want("a"), stage.manager.want("b")
    stage.crew.run()
    with pytest.raises(AdapterCorrupt, match="a: torn"):
        bad.poll()
    assert good.poll() is not None


def test_an_error_evicts_nobody(stage):
    stage.serve("a", "b")
    stage.wait(RESIDENCY)
    stage.shelf.spoil("c", AdapterCorrupt("c: torn"))
    stage.want("c")
    assert stage.held() == {1: "a", 2: "b"}


def test_an_error_is_remembered_while_the_files_stay(stage):
    stage.shelf.spoil("a", AdapterCorrupt("a: torn"))
    stage.want("a")
    again = stage.manager.want("a")
    assert not stage.crew.reads
    with pytest.raises(AdapterCorrupt, match="a: torn"):
        again.poll()


def test_a_repaired_adapter_is_tried_again(stage):
    stage.shelf.spoil("a", AdapterCorrupt("a: torn"))
    stage.want("a")
    stage.shelf.put("a")
    assert stage.want("a").poll() is not None


def test_files_that_change_while_they_are_read_are_read_again(stage):
    def replace(name):
        stage.shelf.reading = lambda name: None
        stage.shelf.put(name, version=2)
        raise AdapterCorrupt("half of one and half of the other")

    stage.shelf.reading = replace
    assert stage.want("a").poll() is not None


def test_an_unknown_adapter_is_told_and_not_remembered(stage):
    with pytest.raises(AdapterNotFound):
        stage.want("z").poll()
    stage.shelf.put("z")
    assert stage.want("z").poll() is not None


def test_an_unforeseen_error_gets_a_name_and_is_tried_again(stage):
    def fail(name):
        raise MemoryError("no room")

    stage.shelf.reading = fail
    with pytest.raises(AdapterError, match="a: could not be loaded: MemoryError"):
        stage.want("a").poll()
    stage.shelf.reading = lambda name: None
    assert stage.want("a").poll() is not None


def test_a_rank_that_no_slot_has_is_refused(stage):
    stage.shelf.put("a", rank=9)
    with pytest.raises(AdapterUnsupported, match="its rank is 9 and a slot has 8"):
        stage.want("a").poll()


def test_a_load_that_fails_frees_its_slot_and_may_be_tried_again(stage):
    def fail(slot, weights):
        raise RuntimeError("out of memory")

    stage.bank.loading = fail
    with pytest.raises(AdapterError, match="RuntimeError: out of memory"):
        stage.want("a").poll()
    assert stage.bank.held == {}
    stage.bank.loading = lambda slot, weights: None
    stage.serve("a", "b")
    assert stage.held() == {1: "a", 2: "b"}


def test_each_ticket_has_an_error_of_its_own(stage):
    stage.shelf.spoil("a", AdapterCorrupt("a: torn"))
    ticket = stage.want("a")
    raised = []
    for _ in range(2):
        with pytest.raises(AdapterCorrupt) as caught:
            ticket.poll()
        raised.append(caught.value)
    assert raised[0] is not raised[1], "a shared one would gather the frames of all who raise it"


# Unloading


def test_unload_empties_the_slot_and_refuses_from_then_on(stage):
    stage.serve("a", "b")
    with pytest.raises(AdapterBusy):
        stage.manager.unload("a", 0)  # its slot is emptied by a job that has not run yet
    stage.crew.run()
    stage.manager.unload("a", 0)
    assert stage.held() == {2: "b"}
    with pytest.raises(AdapterUnloaded, match="a: "):
        stage.manager.want("a")
    assert stage.manager.unloaded == {"a"}


def test_unload_lets_running_rows_finish(stage):
    lease = stage.lease("a")
    with pytest.raises(AdapterBusy, match="a still answers"):
        stage.manager.unload("a", 0)
    stage.crew.run()
    assert stage.held() == {1: "a"}
    stage.release(lease)
    assert stage.held() == {}
    stage.manager.unload("a", 0)


def test_unload_ends_those_who_wait(stage):
    stage.lease("b"), stage.lease("c")
    waiting, unread = stage.want("a"), stage.manager.want("d")
    for name in ("a", "d"):
        stage.manager.unload(name, 0)
    stage.crew.run()
    for ticket in (waiting, unread):
        with pytest.raises(AdapterUnloaded):
            ticket.poll()


def test_unload_while_it_is_being_read_ends_those_who_wait(stage):
    def unload(name):
        stage.manager.unload(name, 0)

    stage.shelf.reading = unload
    with pytest.raises(AdapterUnloaded):
        stage.want("a").poll()
    assert stage.bank.held == {}


def test_unload_while_it_is_being_loaded_empties_the_slot_afterwards(stage):
    def unload(slot, weights):
        with pytest.raises(AdapterBusy):
            stage.manager.unload("a", 0)

    stage.bank.loading = unload
    with pytest.raises(AdapterUnloaded):
        stage.want("a").poll()
    assert stage.bank.held == {}


def test_what_was_unloaded_comes_back_by_pinning(stage):
    stage.manager.unload("a", 0)
    stage.manager.pin("a")
    assert stage.want("a").poll() is not None


def test_what_was_unloaded_is_read_anew(stage):
    stage.serve("a")
    with pytest.raises(AdapterBusy):
        stage.manager.unload("a", 0)
    stage.crew.run()
    stage.manager.pin("a")
    stage.serve("a")
    assert stage.shelf.reads["a"] == 2


def test_unloading_unpins():
    stage = Stage("a", "b", slots=1, pinned=["a"])
    stage.manager.unload("a", 0)
    assert stage.want("b").poll() is not None


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
