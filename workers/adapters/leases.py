"""What a request holds: a ticket while it waits for its adapter, and a lease while its row runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from switchtower.errors import SwitchtowerError

E = TypeVar("E", bound=SwitchtowerError)


class Desk(Protocol):
    """Who admits tickets."""

    def admit(self, ticket: Ticket) -> Lease | None:
        """A lease, if the ticket's adapter is in a slot and admits rows."""

    def drop(self, ticket: Ticket) -> None:
        """Forget the ticket, if it has not been admitted."""


@dataclass(eq=False)
class Ticket:
    """One request's wish for one adapter, at the version that its card named when the wish was made."""

    desk: Desk = field(repr=False)
    name: str
    number: int
    since: float
    version: str | None = None
    """Not known before the card has been read."""
    dropped: bool = False
    lease: Lease | None = None
    error: SwitchtowerError | None = None

    def poll(self) -> Lease | None:
        """The lease, once the request may be admitted; raises what loading its adapter ended in."""
        lease = self.lease or self.desk.admit(self)
        if lease is None and self.error is not None:
            raise same(self.error)
        return lease

    def cancel(self) -> None:
        """The request has left; without effect once it has been admitted."""
        self.desk.drop(self)


@dataclass(eq=False)
class Lease:
    """While it lasts, nothing is done to the slot."""

    slot: int
    version: str
    _give_back: Callable[[], None] = field(repr=False)
    _held: bool = field(default=True, repr=False)

    def release(self) -> None:
        """Give the slot back; a second time is without effect. One thread at a time."""
        held, self._held = self._held, False
        if held:
            self._give_back()


class AdapterFact(NamedTuple):
    """One adapter version at one moment; `slot` is 0 while it has none, times are the manager's clock's."""

    name: str
    version: str
    slot: int
    leases: int
    loaded_at: float
    last_used: float
    pinned: bool
    waiting: int


def same(error: E) -> E:
    """The same error without the frames that it came through: they would keep a whole adapter alive."""
    return type(error)(str(error))
