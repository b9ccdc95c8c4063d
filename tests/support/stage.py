"""An adapter manager whose shelf, bank, threads and clock the test leads by hand."""

from __future__ import annotations

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
