"""Finds out what adapters are now, in reader threads: each name is looked at once for all who ask meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

from switchtower.errors import AdapterNotFound
from workers.adapters.leases import Ticket
from workers.adapters.library import Known, Library
from workers.adapters.loaders import Job
from workers.adapters.shelf import Stamp
from workers.adapters.weights import HostWeights

Answer = Callable[[str, list[Ticket], Known, HostWeights | None], None]
"""Takes what was found about a name, for these tickets; called without the lock."""


class Inquiries:
    """Who asks for what, and what was found; every method must be called under the lock."""

    def __init__(
        self,
        library: Library,
        lock: threading.Condition,
        begin: Callable[[Job], None],
        at_hand: Callable[[str], bool],
        answer: Answer,
    ) -> None:
        self._library = library
        self._lock = lock
        self._begin = begin
        self._at_hand = at_hand
        self._answer = answer
        self._known: dict[str, Known] = {}
        self._asking: dict[str, list[Ticket]] = {}
        """By name while a reader is on its way, who will be served by its next look."""

    def known(self, name: str, stamp: Stamp) -> Known | None:
        """What is known of the files in this state; nothing while others ask, whom nobody may overtake."""
        known = self._known.get(name)
        return known if known and known.stamp == stamp and name not in self._asking else None

    def ask(self, ticket: Ticket) -> None:
        """Have a reader look at the ticket's adapter."""
        if ticket.name in self._asking:
            self._asking[ticket.name].append(ticket)
        else:
            self._asking[ticket.name] = [ticket]
            self._begin(partial(self._serve, ticket.name))

    def forget(self, name: str) -> None:
        """Look again before the next answer."""
        self._known.pop(name, None)

    def queues(self, name: str | None) -> Iterator[list[Ticket]]:
        """Those whom no reader has begun to serve, all of them or of one name."""
        return (tickets for asked, tickets in self._asking.items() if name in (None, asked))

    def _serve(self, name: str) -> None:
        """A reader's job, without the lock: answer those who ask, until nobody does."""
        while tickets := self._next(name):
            known, weights = self._library.look(name, self._at_hand)
            with self._lock:
                self._note(name, known)
            self._answer(name, tickets, known, weights)

    def _next(self, name: str) -> list[Ticket]:
        with self._lock:
            tickets = [ticket for ticket in self._asking[name] if not ticket.dropped]
            if tickets:
                self._asking[name] = []
            else:
                del self._asking[name]
            return tickets

    def _note(self, name: str, known: Known) -> None:
        if isinstance(known.error, AdapterNotFound):
            self.forget(name)  # else whoever makes up names fills our memory
        else:
            self._known[name] = known
