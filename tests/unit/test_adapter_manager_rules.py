"""Whatever happens in whatever order: no slot in use is touched, and everybody is served or told why not."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from switchtower.errors import AdapterBusy, AdapterCorrupt, AdapterError, AdapterSlotsPinned, AdapterUnloaded
from tests.support.shelves import LINEARS, HandClock, PaperShelf, RecordingBank, StepCrew
from workers.adapters.manager import AdapterManager

NAMES = [f"n{number}" for number in range(5)]
AGE, RESIDENCY = 8.0, 2.0

names = st.sampled_from(NAMES)
places = st.integers(0, 1000)


class Managed(RuleBasedStateMachine):
    """A manager between a model and a shelf that both behave as they like."""

    @initialize(slots=st.integers(1, 4), host_mb=st.sampled_from([0, 1]))
    def start(self, slots, host_mb):
        self.shelf, self.bank = PaperShelf(*NAMES), RecordingBank(slots)
        self.crew, self.clock = StepCrew(), HandClock()
        self.manager = AdapterManager(
            self.shelf, self.bank, LINEARS, host_mb=host_mb, age_s=AGE, residency_s=RESIDENCY,
            clock=self.clock, wake=self.wake, crew=self.crew,
        )  # fmt: skip
        self.bank.loading = self.in_mid_load
        self.during, self.waiting, self.leases, self.errors = [], [], [], []
        self.pinned, self.admitted = set(), {}
        self.fails = False
        self.awake = True

    def wake(self):
        self.awake = True

    # What the outside does

    @rule(name=names)
    def want(self, name):
        try:
            self.waiting.append(self.manager.want(name))
            self.awake = True  # whoever wants something is heard
        except AdapterUnloaded:
            assert name in self.manager.unloaded

    @rule()
    def step(self):
        """The engine polls all who wait, in the order in which they came."""
        self.awake = False
        for ticket in list(self.waiting):
            try:
                lease = ticket.poll()
            except AdapterError as error:
                self.waiting.remove(ticket)
                self.errors.append(error)
                continue
            if lease is not None:
                self.waiting.remove(ticket)
                self.admit(ticket, lease)

    def admit(self, ticket, lease):
        assert self.bank.held[lease.slot] == lease.version
        assert lease.version.rpartition("-")[0] == ticket.name
        assert self.admitted.get(lease.version, -1) < ticket.number, "somebody was overtaken"
        self.admitted[lease.version] = ticket.number
        self.bank.rows[lease.slot] += 1
        self.leases.append(lease)

    @precondition(lambda self: self.leases)
    @rule(place=places)
    def release(self, place):
        lease = self.leases.pop(place % len(self.leases))
        self.bank.rows[lease.slot] -= 1
        lease.release()
        self.awake = True  # whoever releases looks again of its own accord

    @precondition(lambda self: self.waiting)
    @rule(place=places)
    def cancel(self, place):
        self.waiting.pop(place % len(self.waiting)).cancel()

    @rule(seconds=st.sampled_from([0.5, RESIDENCY, AGE, 3 * AGE]))
    def wait(self, seconds):
        self.clock.now += seconds
        if self.crew.at is not None and self.crew.at <= self.clock.now:
            self.manager.tick()

    # What the manager's threads do

    @precondition(lambda self: self.crew.reads)
    @rule(place=places)
    def run_read(self, place):
        self.crew.reads.pop(place % len(self.crew.reads))()

    @precondition(lambda self: self.crew.places)
    @rule(during=st.lists(st.tuples(st.sampled_from(["want", "step", "release", "unload"]), names), max_size=4))
    def run_place(self, during):
        self.during = during
        self.crew.places.pop(0)()
        self.during = []

    def in_mid_load(self, slot, weights):
        """What happens while a slot is filled; the load may fail after it."""
        during, self.during = self.during, []
        for what, name in during:
            if what in {"want", "unload"}:
                getattr(self, what)(name)
            elif what == "step":
                self.step()
            elif self.leases:
                self.release(0)
        if self.fails:
            raise RuntimeError("no")

    @rule(fails=st.booleans())
    def trouble_in_the_bank(self, fails):
        self.fails = fails

    # What operators do

    @rule(name=names, version=st.integers(1, 3))
    def replace(self, name, version):
        self.shelf.put(name, version)

    @rule(name=names)
    def spoil(self, name):
        self.shelf.spoil(name, AdapterCorrupt(f"{name}: torn"))

    @rule(name=names)
    def remove(self, name):
        self.shelf.remove(name)

    @rule(name=names)
    def pin(self, name):
        try:
            self.manager.pin(name)
        except AdapterSlotsPinned:
            assert len(self.pinned) == self.bank.slots
        else:
            self.pinned.add(name)

    @rule(name=names)
    def unpin(self, name):
        self.manager.unpin(name)
        self.pinned.discard(name)

    @rule(name=names)
    def unload(self, name):
        self.pinned.discard(name)
        try:
            self.manager.unload(name, 0)
        except AdapterBusy:
            pass
        else:
            assert not any(held and held.startswith(f"{name}-") for held in self.bank.held.values())

    # What always holds

    @invariant()
    def every_row_has_its_adapter(self):
        for lease in getattr(self, "leases", ()):
            assert self.bank.held[lease.slot] == lease.version

    @invariant()
    def slots_are_counted(self):
        if hasattr(self, "manager"):
            slots = [fact.slot for fact in self.manager.facts() if fact.slot]
            assert len(slots) == len(set(slots)) <= self.bank.slots
            assert sum(fact.leases for fact in self.manager.facts()) == len(self.leases)

    @invariant()
    def nobody_sleeps_through(self):
        """Where the next poll would bring something, the engine has been woken since its last."""
        if any(self.would_be_served(ticket) for ticket in getattr(self, "waiting", ())):
            assert self.awake

    def would_be_served(self, ticket):
        here = self.manager._slots.residents.get(ticket.version)
        return ticket.error is not None or (here is not None and here.admits and ticket in here.waiting)

    @invariant()
    def pins_hold(self):
        """A pinned adapter that was once loaded leaves only for a newer version of its own."""
        if not hasattr(self, "manager"):
            return
        facts = self.manager.facts()
        here = {fact.version for fact in facts if fact.pinned and fact.slot and fact.leases + fact.loaded_at}
        for version in getattr(self, "pins_before", set()) - here:
            name = version.rpartition("-")[0]
            assert name not in self.pinned or self.present(name) != version or self.fails
        self.pins_before = here

    def present(self, name):
        return self.manager._slots.current.get(name)

    def teardown(self):
        """Once nothing new comes and rows end, nobody is left waiting."""
        if not hasattr(self, "manager"):
            return
        for _ in range(4 * len(NAMES) + 4):
            self.crew.run()
            self.step()
            for _ in list(self.leases):
                self.release(0)
            self.wait(AGE)
        assert not self.waiting
        self.crew.run()
        assert not self.crew.places
        assert sorted(self.bank.held) == [fact.slot for fact in self.manager.facts() if fact.slot]
        self.manager.close()


Managed.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestManaged = Managed.TestCase
