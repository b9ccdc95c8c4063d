"""The lockdown flag as everyone reads it: open is a lease that a controller renews, and everything else is locked.

The lease is an envelope, good for some seconds and for one epoch. Whoever raises a lockdown puts another value
in its place and counts the epoch up, in one step, so that the lease of before is worth nothing any more.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

from pydantic import Field
from redis import Redis

from switchtower.envelope import KeyRing, Role, admit, parse, unpack
from switchtower.errors import EnvelopeExpired, EnvelopeRefused, LockdownActive, MalformedEnvelope
from switchtower.jobs import FLAG, FLAG_EPOCH
from switchtower.messages import Message, Millis, now_ms
from switchtower.queues import LOCKDOWN

MAX_LEASE_MS = 5000
"""No lease is good for longer, whoever sealed it."""
_LIMIT = 8192
_FAR_MS = 86_400_000


class Lease(Message):
    """A controller's word that the line may run, for a few seconds."""

    kind: Literal["lease"] = "lease"
    state: Literal["open"] = "open"
    epoch: int = Field(gt=0, lt=2**53)
    expires: Millis
    since: Millis
    by: str = Field(max_length=300)
    reason: str = Field(max_length=500)


def read_lease(raw: str | None, ring: KeyRing) -> Lease:
    """The lease in a raw flag; raises `EnvelopeRefused`, and `EnvelopeExpired` where it is genuine but over."""
    if not raw or len(raw) > _LIMIT:
        raise MalformedEnvelope("the flag is no lease")
    try:
        envelope = parse(json.loads(raw), _LIMIT)
        admit(envelope, ring, LOCKDOWN, envelope.id, {Role.CONTROLLER})
        lease = unpack(envelope, Lease)
    except (ValueError, RecursionError):
        raise MalformedEnvelope("the flag is no lease") from None
    if envelope.exp - envelope.iat > MAX_LEASE_MS:
        raise MalformedEnvelope("the lease is longer than leases are")
    if lease.expires <= now_ms():
        raise EnvelopeExpired
    return lease


def plausible(epoch: int) -> bool:
    """Whether an epoch can have come about: they follow the clock, so one of next week was made up."""
    return 0 < epoch <= now_ms() + _FAR_MS


def epoch_of(raw: str | None) -> int | None:
    """The broker's epoch, or nothing where it is missing or made up."""
    if not raw or not raw.isascii() or not raw.isdigit() or len(raw) > len(str(2**53)):
        return None
    return int(raw) if plausible(int(raw)) else None


@dataclass(frozen=True)
class _Known:
    """A lease that was verified, and the latest moment of this process's own clock at which it may count."""

    raw: str
    lease: Lease
    until: float

    @property
    def alive(self) -> bool:
        # Both clocks: a wall clock that is set back must not make a lease longer.
        return time.monotonic() < self.until and now_ms() < self.lease.expires


class Flag:
    """A reader of the flag that remembers what it has verified, and which epochs are over; for many threads."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._known: _Known | None = None
        self._opened = 0
        self._floor = 1
        self._lock, self._process = Lock(), os.getpid()
        self.doubt = ""
        """Why the flag did not say open when it was read last; empty where it did."""

    @property
    def lease(self) -> Lease | None:
        """The lease that was verified, until it is over."""
        known = self._known
        return known.lease if known and known.alive else None

    @property
    def verified(self) -> str:
        """The raw flag that was verified as open, and empty once that lease is over."""
        known = self._known
        return known.raw if known and known.alive else ""

    def accept(self, raw: str | None, epoch: str | None) -> bool:
        """Whether these two values of the broker, read together just now, say open."""
        with self._guard():
            try:
                self._known = self._check(raw or "", epoch_of(epoch))
                self._opened = self._floor = self._known.lease.epoch
                self.doubt = ""
            except EnvelopeRefused as error:
                self._known, self.doubt = None, str(error)
            return self._known is not None

    def heard(self, push: str) -> None:
        """Take note of a raise that was pushed, even if nobody can read it in the flag any more."""
        word, _, epoch = push.partition(" ")
        if word == "locked" and (epoch_of(epoch) or 0) > self._opened:
            with self._guard():
                self._end()
                self._known = None

    def _guard(self) -> Lock:
        """The lock; a new one after a fork, for another thread may have held the old one at that moment."""
        if self._process != os.getpid():
            self._lock, self._process = Lock(), os.getpid()
        return self._lock

    def _check(self, raw: str, epoch: int | None) -> _Known:
        known = self._known if self._known and self._known.raw == raw and self._known.alive else self._verify(raw)
        if epoch and epoch > known.lease.epoch:
            self._end()
        if known.lease.epoch < self._floor or epoch != known.lease.epoch:
            raise MalformedEnvelope("the lease is of another epoch than the broker's")
        return known

    def _verify(self, raw: str) -> _Known:
        """A lease that ran out may come again; what replaced one ends its epoch, for a copy may have been kept."""
        if not raw:
            raise MalformedEnvelope("there is no flag: no controller renews it, or it was deleted")
        try:
            lease = read_lease(raw, self._ring)
        except EnvelopeExpired:
            raise EnvelopeExpired("the lease is over by this host's clock") from None
        except EnvelopeRefused:
            self._end()
            raise
        return _Known(raw, lease, time.monotonic() + (lease.expires - now_ms()) / 1000)

    def _end(self) -> None:
        """The epoch that was open is over, and no lease of it counts any more."""
        self._floor = max(self._floor, self._opened + 1)


@dataclass(frozen=True)
class Standing:
    """What the flag says now."""

    locked: bool
    epoch: int
    reason: str
    by: str
    since: int | None
    expires: int | None = None
    """When the lease runs out if nobody renews it; nothing while locked."""


def read_flag(redis: Redis) -> tuple[str | None, str | None]:
    """The raw flag and epoch, of one moment; what is no text counts as missing."""
    try:
        found: Any = redis.mget(FLAG, FLAG_EPOCH)
    except UnicodeDecodeError:
        return "\N{REPLACEMENT CHARACTER}", None
    raw, epoch = found
    return raw, epoch


def standing(redis: Redis, ring: KeyRing) -> Standing:
    """The flag's state as this key ring sees it."""
    raw, epoch = read_flag(redis)
    flag, known = Flag(ring), epoch_of(epoch) or 0
    if flag.accept(raw, epoch) and (lease := flag.lease):
        return Standing(False, lease.epoch, lease.reason, lease.by, lease.since, lease.expires)
    return locked_by(raw, known) or Standing(True, known, flag.doubt, "nobody", None)


def locked_by(raw: str | None, epoch: int) -> Standing | None:
    """Who raised the lockdown that stands in the flag and why; nothing where no raise stands there."""
    try:
        said: Any = json.loads((raw or "")[:_LIMIT])
        if said["state"] != "locked":
            return None
        at = int(said["at"])
        return Standing(True, epoch, printable(said["reason"], 500), printable(said["by"], 128), at)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def printable(text: object, length: int) -> str:
    """What anybody may have written, fit for a terminal and a log."""
    return "".join(one if one.isprintable() else " " for one in str(text)[:length])


def expect_open(redis: Redis, ring: KeyRing) -> None:
    """Raise `LockdownActive`, with who locked the line and why, unless it is open."""
    found = standing(redis, ring)
    if found.locked:
        raise LockdownActive(f"the line is locked down by {found.by}: {found.reason}; nothing is handed in meanwhile")
