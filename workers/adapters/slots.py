"""Who is in which slot and who gets the next one. Knows neither threads nor the disk nor the time.

A version that tickets wait for takes a free slot, or else that of the least recently used idle one, in the order
of the oldest tickets. Where all are in use, nobody may be kept waiting for ever by the luck of the others: whoever
waits longer than the age limit has a slot closed to newcomers, one more for every further time of that length, and
takes whichever slot drains first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from workers.adapters.leases import Ticket

NO_SLOT = 0


@dataclass(eq=False)
class Resident:
    """One version of an adapter that is in a slot or wanted."""

    name: str
    version: str
    slot: int = NO_SLOT
    loaded: bool = False
    leases: int = 0
    waiting: list[Ticket] = field(default_factory=list)
    """Those who are not admitted yet, the oldest first."""
    closed_for: Resident | None = None
    """The one for whose sake no more rows are admitted."""
    loaded_at: float = 0.0
    used_at: float = 0.0
    used: int = 0
    wanted: int = 0
    """These two count uses and wishes over all residents, so that they order them."""

    @property
    def admits(self) -> bool:
        """Whether a row may be admitted now."""
        return self.loaded and self.closed_for is None

    @property
    def idle(self) -> bool:
        """In its slot, and nobody's need now."""
        return self.loaded and not self.leases and (not self.waiting or self.closed_for is not None)


class Load(NamedTuple):
    """Put the resident into the slot that it has been given."""

    resident: Resident
    slot: int


class Clear(NamedTuple):
    """Empty the slot; it is free after that."""

    slot: int


class Slots:
    """The table of slots; every method must be called under its owner's lock."""

    def __init__(self, count: int, age_s: float, residency_s: float) -> None:
        self.count = count
        self.pinned: set[str] = set()
        self.current: dict[str, str] = {}
        """By the adapter's name the version that its card named last."""
        self.residents: dict[str, Resident] = {}
        self._free = set(range(1, count + 1))
        self._emptying: dict[int, str] = {}
        self._age_s = age_s
        self._residency_s = residency_s
        self._clock = 0

    def resident(self, name: str, version: str) -> Resident:
        """The record of this version, made where there is none."""
        if version not in self.residents:
            self.residents[version] = Resident(name, version)
        return self.residents[version]

    def touch(self, resident: Resident, now: float, *, wanted: bool = False) -> None:
        """Note a use, or a wish."""
        self._clock += 1
        resident.used, resident.used_at = self._clock, now
        if wanted:
            resident.wanted = self._clock

    def is_pinned(self, resident: Resident) -> bool:
        """Whether it must stay; an old version of a pinned adapter need not."""
        return resident.name in self.pinned and not self._is_stale(resident)

    def shut_out(self) -> list[Resident]:
        """Those who wait in vain, because every slot is pinned to somebody else."""
        if len(self.pinned) < self.count:
            return []
        return [one for one in self._candidates() if one.name not in self.pinned]

    def moves(self, now: float) -> list[Load | Clear]:
        """What is to be done now; each move is noted as begun."""
        self._reopen()
        moves: list[Load | Clear] = [Clear(self.empty(one)) for one in self._outlived()]
        for candidate in self._candidates():
            if (slot := self._slot_for(candidate, now)) != NO_SLOT:
                candidate.slot = slot
                moves.append(Load(candidate, slot))
        self._reopen()
        self._forget()
        return moves

    def leave(self, resident: Resident) -> int:
        """Take the resident out of its slot, which is somebody else's from now on."""
        slot, resident.slot, resident.loaded, resident.closed_for = resident.slot, NO_SLOT, False, None
        return slot

    def empty(self, resident: Resident) -> int:
        """Take the resident out of its slot, which is free once it is `emptied`."""
        slot = self.leave(resident)
        self._emptying[slot] = resident.name
        return slot

    def emptied(self, slot: int) -> None:
        """The slot has been cleared."""
        del self._emptying[slot]
        self._free.add(slot)

    def holds(self, name: str) -> bool:
        """Whether any version of this adapter is in a slot, or has left one that is not empty yet."""
        return name in self._emptying.values() or any(
            one.name == name and one.slot != NO_SLOT for one in self.residents.values()
        )

    def due(self, now: float) -> float | None:
        """When time alone may give somebody a slot."""
        if not (candidates := self._candidates()):
            return None
        ages = [one.waiting[0].since + self._age_s * (self._patience(one, now) + 1) for one in candidates]
        stays = [one.loaded_at + self._residency_s for one in self.residents.values() if one.idle]
        return min([*ages, *(stay for stay in stays if stay > now)])

    def _outlived(self) -> list[Resident]:
        """Versions that their card no longer names and nobody needs."""
        return [one for one in self.residents.values() if one.idle and not one.waiting and self._is_stale(one)]

    def _candidates(self) -> list[Resident]:
        """Those without a slot that somebody waits for, the oldest wish first."""
        waiting = [one for one in self.residents.values() if one.waiting and one.slot == NO_SLOT]
        return sorted(waiting, key=_oldest)

    def _slot_for(self, candidate: Resident, now: float) -> int:
        if self._free:
            self._free.remove(slot := min(self._free))
            return slot
        old = self._patience(candidate, now)
        leaver = self._idle(now, hurried=old > 0)
        if leaver is None and self._close(candidate, old):
            leaver = self._idle(now, hurried=True)
        return self.leave(leaver) if leaver else NO_SLOT

    def _idle(self, now: float, *, hurried: bool) -> Resident | None:
        """The idle one that was used longest ago; not one that has only just come, unless somebody is in a hurry."""
        found = [
            one
            for one in self.residents.values()
            if one.idle and not self.is_pinned(one) and (hurried or now - one.loaded_at >= self._residency_s)
        ]
        return min(found, key=lambda one: one.used, default=None)

    def _close(self, candidate: Resident, wish: int) -> bool:
        """Close slots to newcomers until so many are closed for the candidate; whether one more has been closed."""
        closed = sum(one.closed_for is candidate for one in self.residents.values())
        victims = sorted(self._closable(candidate), key=lambda one: one.wanted)[: max(0, wish - closed)]
        for victim in victims:
            victim.closed_for = candidate
        return bool(victims)

    def _closable(self, candidate: Resident) -> Iterator[Resident]:
        """Those in slots, save the pinned and those on whom somebody waits since before the candidate's oldest wish."""
        for one in self.residents.values():
            mine = not one.waiting or _oldest(one) > _oldest(candidate)
            if one.admits and mine and not self.is_pinned(one):
                yield one

    def _patience(self, candidate: Resident, now: float) -> int:
        """How many times the age limit has passed since its oldest wish."""
        return int((now - candidate.waiting[0].since) // self._age_s)

    def _reopen(self) -> None:
        """Open those again that are closed for somebody who no longer waits, or have been pinned since."""
        for one in self.residents.values():
            other = one.closed_for
            if other is not None and (other.slot != NO_SLOT or not other.waiting or self.is_pinned(one)):
                one.closed_for = None

    def _is_stale(self, resident: Resident) -> bool:
        return self.current.get(resident.name) != resident.version

    def _forget(self) -> None:
        for version in [one.version for one in self.residents.values() if one.slot == NO_SLOT and not one.waiting]:
            del self.residents[version]


def _oldest(resident: Resident) -> int:
    return resident.waiting[0].number
