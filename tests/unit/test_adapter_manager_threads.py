"""The adapter manager with its own threads, and adapters in real folders."""

from __future__ import annotations

import os
import threading
import time

import pytest

from switchtower.errors import AdapterCorrupt, AdapterNotFound, AdapterSlotsPinned, WorkerStopping
from tests.support.shelves import LINEARS, SHAPES, PaperShelf, RecordingBank, make, safetensors
from tests.support.wait import until
from workers.adapters.loaders import Threads
from workers.adapters.manager import AdapterManager
from workers.adapters.shelf import WEIGHTS, AdapterShelf

SECONDS = 15


@pytest.fixture
def managed(request):
    """Makes managers and closes them."""
    made = []

    def manage(shelf, bank, age_s=1000, residency_s=0, **options):
        manager = AdapterManager(shelf, bank, LINEARS, host_mb=1, age_s=age_s, residency_s=residency_s, **options)
        made.append(manager)
        return manager

    yield manage
    for manager in made:
        manager.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adapter-")]


def admitted(ticket):
    return until(ticket.poll, f"the admission of {ticket}", SECONDS)


def test_an_adapter_goes_from_its_folder_into_a_slot(tmp_path, managed):
    make(tmp_path)
    bank = RecordingBank()
    woken = threading.Event()
    manager = managed(AdapterShelf(tmp_path), bank, wake=woken.set)
    ticket = manager.want("poet-v1")
    assert woken.wait(SECONDS)
    lease = admitted(ticket)
    assert bank.held == {lease.slot: lease.version}


def test_a_replaced_folder_is_noticed_and_a_repaired_one_is_tried_again(tmp_path, managed):
    make(tmp_path)
    manager = managed(AdapterShelf(tmp_path), RecordingBank(slots=3))
    old = admitted(manager.want("poet-v1"))
    (tmp_path / "poet-v1" / WEIGHTS).write_bytes(b"torn")
    make(tmp_path, weights=safetensors(SHAPES, fill=b"\1"))
    new = admitted(manager.want("poet-v1"))
    assert new.version != old.version
    make(tmp_path, card={"sha256": "0" * 64})
    with pytest.raises(AdapterCorrupt):
        admitted(manager.want("poet-v1"))
    make(tmp_path, weights=safetensors(SHAPES, fill=b"\2"))
    assert admitted(manager.want("poet-v1")).version not in {old.version, new.version}


def test_hits_go_on_while_a_load_takes_its_time(managed):
    shelf, bank = PaperShelf("a", "b"), RecordingBank()
    manager = managed(shelf, bank)
    admitted(manager.want("a")).release()
    begun, go_on = threading.Event(), threading.Event()

    def slowly(slot, weights):
        begun.set()
        assert go_on.wait(SECONDS)

    bank.loading = slowly
    try:
        ticket = manager.want("b")
        assert begun.wait(SECONDS)
        lease = manager.want("a").poll()
        assert lease is not None
        lease.release()
        assert ticket.poll() is None
    finally:
        go_on.set()
    assert admitted(ticket).slot != lease.slot


def test_a_slow_disk_holds_up_nobody_who_does_not_need_it(managed):
    shelf, bank = PaperShelf("a", "b"), RecordingBank()
    manager = managed(shelf, bank)
    begun, go_on = threading.Event(), threading.Event()

    def slowly(name):
        if name == "a":
            begun.set()
            assert go_on.wait(SECONDS)

    shelf.reading = slowly
    try:
        late = manager.want("a")
        assert begun.wait(SECONDS)
        admitted(manager.want("b"))
        assert late.poll() is None
    finally:
        go_on.set()
    admitted(late)


def test_preload_reads_side_by_side_and_returns_when_all_are_in_slots(managed):
    shelf, bank = PaperShelf("a", "b"), RecordingBank()
    both = threading.Barrier(2, timeout=SECONDS)
    shelf.reading = lambda name: both.wait()
    manager = managed(shelf, bank)
    manager.preload(["a", "b", "a"])
    assert sorted(version.rpartition("-")[0] for version in bank.held.values()) == ["a", "b"]
    assert all(fact.waiting == 0 for fact in manager.facts())


def test_preload_raises_everything_that_went_wrong_and_loads_the_rest(managed):
    shelf = PaperShelf("a")
    shelf.spoil("b", AdapterCorrupt("b: torn"))
    manager = managed(shelf, RecordingBank(slots=4))
    with pytest.RaisesGroup(AdapterCorrupt, AdapterNotFound):
        manager.preload(["a", "b", "z"])
    assert [fact.name for fact in manager.facts() if fact.slot] == ["a"]


def test_preload_refuses_more_than_fits(managed):
    manager = managed(PaperShelf("a", "b", "c"), RecordingBank(slots=2), pinned=["a"])
    with pytest.RaisesGroup(AdapterSlotsPinned):
        manager.preload(["b", "c"])
    manager.preload(["a", "b"])


def test_preloads_at_the_same_time_do_not_lock_each_other_out(managed):
    manager = managed(PaperShelf("a", "b", "c", "d"), RecordingBank(slots=2))
    ended = []

    def load(*names):
        for _ in range(20):
            manager.preload(names)
        ended.append(names)

    threads = [threading.Thread(target=load, args=names) for names in (("a", "b"), ("c", "d"), ("b", "c"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(ended) == 3


def test_preload_lets_in_what_was_unloaded(managed):
    manager = managed(PaperShelf("a"), RecordingBank())
    manager.preload(["a"])
    manager.unload("a", SECONDS)
    assert manager.facts() == []
    manager.preload(["a"])
    assert [fact.name for fact in manager.facts()] == ["a"]


def test_unload_waits_for_the_last_row(managed):
    bank = RecordingBank()
    manager = managed(PaperShelf("a"), bank)
    lease = admitted(manager.want("a"))
    unloading = threading.Thread(target=manager.unload, args=("a", SECONDS))
    unloading.start()
    until(lambda: manager.unloaded, "the refusal", SECONDS)
    assert unloading.is_alive()
    assert bank.held
    lease.release()
    unloading.join(SECONDS)
    assert bank.held == {}


def test_time_alone_wakes_who_sleeps(managed):
    """Nobody polls, releases or wants: the alarm brings the next adapter in."""
    woken = threading.Event()
    manager = managed(PaperShelf("a", "b"), RecordingBank(slots=1), residency_s=0.05, wake=woken.set)
    admitted(manager.want("a")).release()
    ticket = manager.want("b")
    until(lambda: [fact.name for fact in manager.facts() if fact.loaded_at] == ["b"], "the change", SECONDS)
    assert ticket.poll() is not None


def test_closing_waits_for_what_has_begun_and_ends_preload(managed):
    shelf, bank = PaperShelf("a", "b"), RecordingBank(slots=2)
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def slowly(slot, weights):
        begun.set()
        assert go_on.wait(SECONDS)

    bank.loading = slowly
    manager = managed(shelf, bank)

    def preload():
        try:
            manager.preload(["a", "b"])
        except* WorkerStopping as group:
            ended.append(group)

    loading = threading.Thread(target=preload)
    loading.start()
    assert begun.wait(SECONDS)
    closing = threading.Thread(target=manager.close)
    closing.start()
    loading.join(SECONDS)
    assert ended
    assert closing.is_alive()
    go_on.set()
    closing.join(SECONDS)
    assert not closing.is_alive()


def test_many_threads_at_once_keep_every_row_in_its_slot(managed):
    """Each thread is a row: it waits, checks that its adapter stays while it runs, and leaves."""
    names = [f"n{number}" for number in range(6)]
    shelf, bank = PaperShelf(*names), RecordingBank(slots=3)
    manager = managed(shelf, bank, age_s=0.02, residency_s=0.001)
    wrong, served = [], []

    def row(seed):
        for turn in range(40):
            name = names[(seed * 7 + turn * (seed + 1)) % len(names)]
            lease = admitted(manager.want(name))
            for _ in range(5):
                if bank.held.get(lease.slot) != lease.version or not lease.version.startswith(name):
                    wrong.append((name, lease))
                os.sched_yield()
            lease.release()
            served.append(name)

    def replacer():
        for turn in range(30):
            shelf.put(names[turn % 3], version=1 + turn % 5)
            os.sched_yield()

    threads = [threading.Thread(target=row, args=(seed,)) for seed in range(6)]
    threads.append(threading.Thread(target=replacer))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(served) == 240
    assert wrong == []


def test_an_alarm_rings_at_the_time_that_was_set_last():
    rung = threading.Event()
    crew = Threads(1, rung.set)
    try:
        crew.ring(time.monotonic() + 1000)
        crew.ring(None)
        crew.ring(time.monotonic() + 0.01)
        assert rung.wait(SECONDS)
    finally:
        crew.close()
