"""Brings adapters from the shelf into the model's slots, for whoever wants one, without stopping anybody.

    want ──► card read ──► weights read and checked ──► host memory ──► slot ──► lease
             (a reader thread; nobody else waits)                      (one thread; slots.py says whose turn it is)

A wish is for the version that the card names when the wish is made. Another version goes into a slot of its own:
rows of the old one finish where they are, and its slot is emptied after the last of them.
Nothing is read, and the model is not touched, under the manager's one lock.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial

from switchtower.errors import (
    AdapterBusy,
    AdapterError,
    AdapterSlotsPinned,
    AdapterUnloaded,
    SwitchtowerError,
    WorkerStopping,
)
from workers.adapters.bank import Bank, TidyBank
from workers.adapters.cache import HostCache
from workers.adapters.inquiries import Inquiries
from workers.adapters.leases import AdapterFact, Lease, Ticket, same
from workers.adapters.library import Known, Library, trouble
from workers.adapters.loaders import Crew, Threads
from workers.adapters.shelf import AdapterShelf, check_name
from workers.adapters.slots import Load, Resident, Slots
from workers.adapters.tensors import Linears
from workers.adapters.weights import HostWeights

__all__ = ["AdapterFact", "AdapterManager", "Lease", "Ticket"]

_NOT_LOADED = "adapters could not be loaded"
_log = logging.getLogger(__name__)


class AdapterManager:
    """The adapters of one model. Safe to call from any thread.

    `wake` is called from the manager's own threads, and from `cancel`, `unload`, `pin` and `unpin`, when a ticket may
    have become ready. After `release` it is not: whoever releases polls again before it sleeps.
    """

    def __init__(
        self,
        shelf: AdapterShelf,
        bank: Bank,
        linears: Linears,
        *,
        host_mb: int,
        age_s: float,
        residency_s: float,
        pinned: Iterable[str] = (),
        loaders: int = 2,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
        crew: Crew | None = None,
    ) -> None:
        self._library = Library(shelf, linears, bank.max_rank)
        self._bank = TidyBank(bank)
        self._clock = clock
        self._wake = wake
        self._slots = Slots(bank.slots, age_s, residency_s)
        self._host = HostCache(host_mb * 1024 * 1024)
        self._unloaded: set[str] = set()
        self._numbers = itertools.count()
        self._closed = False
        self._changed = threading.Condition()
        self._preloading = threading.Lock()
        self._crew = crew or Threads(loaders, self.tick, clock)
        self._inquiries = Inquiries(self._library, self._changed, self._crew.read, self._is_at_hand, self._answer)
        for name in pinned:
            self.pin(name)

    def want(self, name: str) -> Ticket:
        """A ticket for this adapter at its present version; begins to load it where need be, and waits for nothing.

        Raises `AdapterUnloaded` after `unload`, and `AdapterNotFound` where this is no name.
        """
        stamp = self._library.stamp(name)
        with self._changed:
            self._expect_open(name)
            ticket = Ticket(self, name, next(self._numbers), self._clock())
            known = self._inquiries.known(name, stamp)
            if known and known.error:
                ticket.error = known.error
            elif known and known.version and self._is_at_hand(known.version):
                self._resolve(name, [ticket], known.version)
                self._settle()
            else:
                self._inquiries.ask(ticket)
            return ticket

    def admit(self, ticket: Ticket) -> Lease | None:
        """A lease, if the ticket's adapter is in a slot and admits rows."""
        with self._changed:
            resident = self._slots.residents.get(ticket.version or "")
            if ticket.dropped or resident is None or not resident.admits or ticket not in resident.waiting:
                return ticket.lease
            resident.waiting.remove(ticket)
            resident.leases += 1
            self._slots.touch(resident, self._clock())
            ticket.lease = Lease(resident.slot, resident.version, partial(self._release, resident))
            return ticket.lease

    def drop(self, ticket: Ticket) -> None:
        """Forget the ticket, if it has not been admitted."""
        with self._changed:
            if ticket.lease or ticket.dropped:
                return
            ticket.dropped = True
            resident = self._slots.residents.get(ticket.version or "")
            if resident and ticket in resident.waiting:
                resident.waiting.remove(ticket)
                self._settle()
        self._wake()

    def preload(self, names: Iterable[str]) -> None:
        """Load these adapters side by side; returns when all are in slots, raises a group of what went wrong."""
        wanted = list(dict.fromkeys(names))
        if len({*wanted, *self._slots.pinned}) > self._slots.count:
            short = f"{len(wanted)} adapters and the pinned ones do not fit {self._slots.count} slots"
            raise ExceptionGroup(_NOT_LOADED, [AdapterSlotsPinned(short)])
        with self._preloading:  # two at a time might hold slots and wait for each other's
            with self._changed:
                self._unloaded.difference_update(wanted)
            self._load_all(wanted)

    def pin(self, name: str) -> None:
        """Keep the adapter in its slot from when it is first loaded; nothing is loaded by this."""
        check_name(name)
        with self._changed:
            if len(self._slots.pinned | {name}) > self._slots.count:
                raise AdapterSlotsPinned(f"{name}: all {self._slots.count} slots are pinned already")
            self._slots.pinned.add(name)
            self._unloaded.discard(name)
            self._settle()
        self._wake()

    def unpin(self, name: str) -> None:
        """Let the adapter go when others need its slot."""
        with self._changed:
            self._slots.pinned.discard(name)
            self._settle()
        self._wake()

    def unload(self, name: str, timeout: float) -> None:
        """Refuse the adapter from now on, wait for its rows to finish and empty its slot.

        Requests that wait for it get `AdapterUnloaded`. Raises `AdapterBusy` where the rows take longer; the slot is
        emptied after them all the same. `readmit`, `preload` and `pin` let the adapter in again.
        """
        check_name(name)
        with self._changed:
            self._unloaded.add(name)
            self._slots.pinned.discard(name)
            self._slots.current.pop(name, None)
            self._inquiries.forget(name)
            self._host.forget(name)
            self._fail_all(_unloaded(name), name)
            self._settle()
        self._wake()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._slots.holds(name), timeout):
                raise AdapterBusy(f"{name} still answers jobs after {timeout:g} s; its slot is emptied after them")

    def readmit(self, name: str) -> None:
        """Let an adapter that was unloaded be wanted again."""
        with self._changed:
            self._unloaded.discard(name)

    @property
    def unloaded(self) -> frozenset[str]:
        """The adapters that were unloaded and are refused here."""
        with self._changed:
            return frozenset(self._unloaded)

    def facts(self) -> list[AdapterFact]:
        """Every adapter version in a slot or waited for, by its slot."""
        with self._changed:
            return sorted(map(self._fact, self._slots.residents.values()), key=lambda fact: (fact.slot, fact.version))

    def close(self) -> None:
        """Fail whoever still waits, and end the manager's threads; leases may be released afterwards."""
        with self._changed:
            self._closed = True
            self._fail_all(WorkerStopping())
            self._changed.notify_all()
        self._crew.close()
        self._wake()

    def tick(self) -> None:
        """Time has passed."""
        with self._changed:
            self._settle()
        self._wake()

    # The rest is called under the lock, except where it says that it is a job.

    def _expect_open(self, name: str) -> None:
        if (refusal := self._refusal(name)) is not None:
            raise refusal

    def _refusal(self, name: str) -> SwitchtowerError | None:
        """Why this adapter may not be had."""
        if self._closed:
            return WorkerStopping()
        return _unloaded(name) if name in self._unloaded else None

    def _answer(self, name: str, tickets: list[Ticket], known: Known, weights: HostWeights | None) -> None:
        """A job's part: what those who asked for this adapter get."""
        with self._changed:
            if known.version is None:
                self._fail(tickets, known.error or AdapterError())
            else:
                self._keep(name, weights)
                self._resolve(name, tickets, known.version)
            self._settle()
        self._wake()

    def _is_at_hand(self, version: str) -> bool:
        with self._changed:
            return version in self._slots.residents or version in self._host

    def _keep(self, name: str, weights: HostWeights | None) -> None:
        if weights is not None and name not in self._unloaded:
            needed = {one.version for one in self._slots.residents.values() if one.waiting and not one.loaded}
            self._host.put(name, weights, needed)

    def _resolve(self, name: str, tickets: list[Ticket], version: str) -> None:
        """These tickets are for this version, which is the card's."""
        if (refusal := self._refusal(name)) is not None:
            self._fail(tickets, refusal)
            return
        self._slots.current[name] = version
        resident = self._slots.resident(name, version)
        for ticket in tickets:
            ticket.version = version
        resident.waiting = sorted(
            [*resident.waiting, *(ticket for ticket in tickets if not ticket.dropped)], key=lambda one: one.number
        )
        self._slots.touch(resident, self._clock(), wanted=True)

    def _settle(self) -> None:
        """Give slots to those whose turn it is."""
        self._changed.notify_all()
        if self._closed:
            return
        for one in self._slots.shut_out():
            self._fail(one.waiting, AdapterSlotsPinned(f"{one.name}: {AdapterSlotsPinned.__doc__}"))
        now = self._clock()
        for move in self._slots.moves(now):
            if isinstance(move, Load):
                self._crew.place(partial(self._place, move.resident, move.slot))
            else:
                self._crew.place(partial(self._vacate, move.slot))
        self._crew.ring(self._slots.due(now))

    def _place(self, resident: Resident, slot: int) -> None:
        """A job: load the resident into the slot that it was given."""
        try:
            weights = self._at_hand(resident) or self._library.read(resident.name)
            if weights.version == resident.version:
                self._bank.fill(slot, weights)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is this adapter's trouble alone
            self._misplaced(resident, slot, error)
        else:
            if weights.version == resident.version:
                self._placed(resident)
            else:
                self._superseded(resident, slot, weights)

    def _at_hand(self, resident: Resident) -> HostWeights | None:
        with self._changed:
            return self._host.get(resident.version)

    def _placed(self, resident: Resident) -> None:
        """A job's part: the resident is in its slot."""
        with self._changed:
            resident.loaded = True
            resident.loaded_at = self._clock()
            self._settle()
        self._wake()

    def _misplaced(self, resident: Resident, slot: int, error: Exception) -> None:
        """A job's part: the resident could not be loaded."""
        with self._changed:
            self._fail(resident.waiting, trouble(resident.name, error))
            self._slots.empty(resident)
        self._vacate(slot)

    def _superseded(self, resident: Resident, slot: int, weights: HostWeights) -> None:
        """A job's part: the files are another version's by now, so its tickets are for that one."""
        with self._changed:
            tickets, resident.waiting = resident.waiting, []
            self._slots.empty(resident)
            self._keep(resident.name, weights)
            self._resolve(resident.name, tickets, weights.version)
        self._vacate(slot)

    def _vacate(self, slot: int) -> None:
        """A job: empty the slot."""
        try:
            self._bank.empty(slot)
        except Exception as error:  # noqa: BLE001 - it is emptied again before it is filled
            _log.warning("adapter slot %d could not be emptied: %s", slot, type(error).__name__)
        with self._changed:
            self._slots.emptied(slot)
            self._settle()
        self._wake()

    def _release(self, resident: Resident) -> None:
        """Called by a lease, without the lock."""
        with self._changed:
            resident.leases -= 1
            self._slots.touch(resident, self._clock())
            self._settle()

    def _fail(self, tickets: list[Ticket], error: SwitchtowerError) -> None:
        """These tickets end in this error."""
        for ticket in tickets:
            ticket.error = error
        tickets.clear()

    def _load_all(self, names: list[str]) -> None:
        """Without the lock: load these, holding each in its slot by a ticket until all are there."""
        tickets: list[Ticket] = []
        errors: list[SwitchtowerError] = []
        try:
            for name in names:
                try:
                    tickets.append(self.want(name))
                except SwitchtowerError as error:
                    errors.append(error)
            with self._changed:
                self._changed.wait_for(lambda: all(map(self._has_ended, tickets)))
        finally:
            for ticket in tickets:
                ticket.cancel()
        errors += [same(ticket.error) for ticket in tickets if ticket.error]
        if errors:
            raise ExceptionGroup(_NOT_LOADED, errors)

    def _has_ended(self, ticket: Ticket) -> bool:
        resident = self._slots.residents.get(ticket.version or "")
        return ticket.error is not None or (resident is not None and resident.loaded)

    def _fail_all(self, error: SwitchtowerError, name: str | None = None) -> None:
        """All tickets that are not admitted end in this error, or those of one adapter."""
        for tickets in self._inquiries.queues(name):
            self._fail(tickets, error)
        for one in self._slots.residents.values():
            if name in (None, one.name):
                self._fail(one.waiting, error)

    def _fact(self, one: Resident) -> AdapterFact:
        return AdapterFact(
            one.name,
            one.version,
            one.slot,
            one.leases,
            one.loaded_at,
            one.used_at,
            self._slots.is_pinned(one),
            len(one.waiting),
        )


def _unloaded(name: str) -> AdapterUnloaded:
    return AdapterUnloaded(f"{name}: {AdapterUnloaded.__doc__}")
