"""The adapter manager and the files: new versions, and adapters that cannot be loaded."""

from __future__ import annotations

import pytest

from switchtower.errors import AdapterCorrupt, AdapterError, AdapterNotFound, AdapterUnsupported
from tests.support.stage import RESIDENCY, Stage


@pytest.fixture
def stage():
    return Stage("a", "b", "c", "d")


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
