"""The adapter manager and its operators: pinning and unloading."""

from __future__ import annotations

import pytest

from switchtower.errors import AdapterBusy, AdapterSlotsPinned, AdapterUnloaded
from tests.support.stage import AGE, RESIDENCY, Stage


@pytest.fixture
def stage():
    return Stage("a", "b", "c", "d")


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
