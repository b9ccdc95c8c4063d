"""Whatever happens in whatever order: no slot in use is touched, and everybody is served or told why not."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from switchtower.errors import AdapterBusy, AdapterCorrupt, AdapterError, AdapterSlotsPinned, AdapterUnloaded
from tests.support.shelves import LINEARS, HandClock, PaperShelf, RecordingBank, StepCrew
from workers.adapters.manager import AdapterManager

NAMES = [f"n{number}" for number in range(5)]
AGE, RESIDENCY = 8.0, 2.0
WAITS = [0.5, RESIDENCY, AGE, 3 * AGE]
OPERATIONS = ["replace", "spoil", "remove", "pin", "unpin", "unload", "trouble"]
IN_MID_LOAD = ["want", "step", "release", "unload"]


class World:
    """A manager between a model and a shelf that both behave as they like."""

    def __init__(self, slots, host_mb):
        self.shelf, self.bank = PaperShelf(*NAMES), RecordingBank(slots)
        self.crew, self.clock = StepCrew(), HandClock()
        self.manager = AdapterManager(
            self.shelf, self.bank, LINEARS, host_mb=host_mb, age_s=AGE, residency_s=RESIDENCY,
            clock=self.clock, wake=self.wake, crew=self.crew,
        )  # fmt: skip
        self.bank.loading = self.in_mid_load
        self.during, self.waiting, self.leases = [], [], []
        self.pinned, self.settled, self.admitted, self.meant = set(), set(), {}, {}
        self.fails, self.awake, self.changes = False, True, 0

    def wake(self):
        self.awake = True

    # What the model's side does

    def want(self, name):
        try:
            self.waiting.append(self.manager.want(name))
        except AdapterUnloaded:
            assert name in self.manager.unloaded
        self.awake = True  # whoever wants something is heard

    def step(self):
        """The engine polls all who wait, in the order in which they came."""
        self.awake = False
        for ticket in list(self.waiting):
            try:
                lease = ticket.poll()
            except AdapterError:
                self.waiting.remove(ticket)
                continue
            if lease is not None:
                self.waiting.remove(ticket)
                self.admit(ticket, lease)

    def admit(self, ticket, lease):
        assert self.bank.held[lease.slot] == lease.version
        assert lease.version.rpartition("-")[0] == ticket.name
        if self.meant.get(ticket) == lease.version:  # others waited for a version that is gone, and come when they come
            assert self.admitted.get(lease.version, -1) < ticket.number, "somebody was overtaken"
            self.admitted[lease.version] = ticket.number
        self.bank.rows[lease.slot] += 1
        self.leases.append(lease)

    def release(self, place):
        if self.leases:
            lease = self.leases.pop(place % len(self.leases))
            self.bank.rows[lease.slot] -= 1
            lease.release()
            self.awake = True  # whoever releases looks again

    def cancel(self, place):
        if self.waiting:
            self.waiting.pop(place % len(self.waiting)).cancel()

    def wait(self, seconds):
        self.clock.now += seconds
        if self.crew.at is not None and self.crew.at <= self.clock.now:
            self.manager.tick()

    # What the manager's threads do

    def read(self, place):
        if self.crew.reads:
            self.crew.reads.pop(place % len(self.crew.reads))()

    def place(self, during):
        if self.crew.places:
            self.during = during
            self.crew.places.pop(0)()
            self.during = []

    def in_mid_load(self, slot, weights):
        """What happens while a slot is filled; the load may fail after it."""
        during, self.during = self.during, []
        for what, name in during:
            if what == "step":
                self.step()
            else:
                getattr(self, what)(0 if what == "release" else name)
        if self.fails:
            raise RuntimeError("no")

    # What operators do

    def operate(self, what, name):
        getattr(self, what)(name)

    def replace(self, name):
        self.changes += 1
        self.shelf.put(name, 1 + self.changes % 3)

    def spoil(self, name):
        self.shelf.spoil(name, AdapterCorrupt(f"{name}: torn"))

    def remove(self, name):
        self.shelf.remove(name)

    def trouble(self, name):
        self.fails = not self.fails

    def pin(self, name):
        try:
            self.manager.pin(name)
        except AdapterSlotsPinned:
            assert len(self.pinned) == self.bank.slots
        else:
            self.pinned.add(name)

    def unpin(self, name):
        self.manager.unpin(name)
        self.pinned.discard(name)

    def unload(self, name):
        self.pinned.discard(name)
        try:
            self.manager.unload(name, 0)
        except AdapterBusy:
            pass
        else:
            taken = {fact.slot: fact.version for fact in self.manager.facts()}
            for slot, held in self.bank.held.items():
                assert taken.get(slot, held) != held or not held.startswith(f"{name}-"), "it has not left"

    def mend(self, name):
        """What was unloaded or spoilt comes back, and the bank works again."""
        self.pin(name)
        self.unpin(name)
        self.replace(name)
        self.fails = False

    # What always holds

    def check(self):
        self.meant |= {one: one.version for one in self.waiting if one.version and one not in self.meant}
        facts = self.manager.facts()
        slots = [fact.slot for fact in facts if fact.slot]
        assert len(slots) == len(set(slots)) <= self.bank.slots
        assert sum(fact.leases for fact in facts) == len(self.leases)
        for lease in self.leases:
            assert self.bank.held[lease.slot] == lease.version
        if any(map(self.would_be_served, self.waiting)):
            assert self.awake, "somebody could be served, and the engine sleeps"
        self.check_pins(facts)

    def would_be_served(self, ticket):
        here = self.manager._slots.residents.get(ticket.version)
        return ticket.error is not None or (here is not None and here.admits and ticket in here.waiting)

    def check_pins(self, facts):
        """The present version of a pinned adapter does not leave its slot once it is in it."""
        here = {fact.version for fact in facts if fact.pinned and fact.slot in self.bank.held and fact.loaded_at}
        present = set(self.manager._slots.current.values())
        for version in self.settled - here:
            assert version not in present or version.rpartition("-")[0] not in self.pinned
        self.settled = {version for version in here if version in self.bank.held.values()}

    def finish(self):
        """Once nothing new comes and rows end, nobody is left waiting."""
        for _ in range(4 * len(NAMES) + 4):
            self.crew.run()
            self.step()
            while self.leases:
                self.release(0)
            self.wait(AGE)
            self.check()
        assert not self.waiting
        self.crew.run()
        assert sorted(self.bank.held) == [fact.slot for fact in self.manager.facts() if fact.slot]
        self.manager.close()


names = st.sampled_from(NAMES)
places = st.integers(0, 100)


class Managed(RuleBasedStateMachine):
    world = None

    @initialize(slots=st.integers(1, 4), host_mb=st.sampled_from([0, 1]))
    def start(self, slots, host_mb):
        self.world = World(slots, host_mb)

    @rule(name=names)
    def want(self, name):
        self.world.want(name)

    @rule()
    def step(self):
        self.world.step()

    @rule(place=places)
    def release(self, place):
        self.world.release(place)

    @rule(place=places)
    def cancel(self, place):
        self.world.cancel(place)

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds):
        self.world.wait(seconds)

    @rule(place=places)
    def read(self, place):
        self.world.read(place)

    @rule(during=st.lists(st.tuples(st.sampled_from(IN_MID_LOAD), names), max_size=4))
    def place(self, during):
        self.world.place(during)

    @rule(what=st.sampled_from(OPERATIONS), name=names)
    def operate(self, what, name):
        self.world.operate(what, name)

    @invariant()
    def holds(self):
        if self.world:
            self.world.check()

    def teardown(self):
        if self.world:
            self.world.finish()


Managed.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestManaged = Managed.TestCase


WEIGHTS = {"want": 6, "step": 6, "release": 5, "cancel": 1, "wait": 2, "read": 5, "place": 5, "operate": 1, "mend": 0.5}


def act(world, dice):
    """One step of a walk through a busy worker, where operators and trouble are rare."""
    (what,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
    given = {
        "want": (dice.choice(NAMES),),
        "step": (),
        "wait": (dice.choice(WAITS),),
        "place": ([(dice.choice(IN_MID_LOAD[:3]), dice.choice(NAMES)) for _ in range(dice.randrange(3))],),
        "operate": (dice.choice(OPERATIONS), dice.choice(NAMES)),
        "mend": (dice.choice(NAMES),),
    }
    getattr(world, what)(*given.get(what, (dice.randrange(100),)))


@pytest.mark.parametrize("seed", range(40))
def test_long_walks(seed):
    dice = random.Random(seed)  # noqa: S311 - a walk, not a secret
    world = World(dice.randint(1, 4), dice.randint(0, 1))
    for _ in range(400):
        act(world, dice)
        world.check()
    world.finish()
