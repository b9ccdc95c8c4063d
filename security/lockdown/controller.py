"""The controller: holds the line open by a lease that it renews, and locks it whenever it is in doubt.

Two may run, each with a folder and a key of its own; one leads, and the other takes over when the leader's claim
runs out, long before the lease does. A controller that dies, hangs, cannot reach the broker or cannot write its
file stops renewing, so that the line locks by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from security.audit.events import AuditEvent, note
from security.lockdown.alarm import locked_value, raised
from security.lockdown.desk import Desk
from security.lockdown.judgement import Finding, Judgement, Sight, judge, see
from security.lockdown.leadership import Leadership
from security.lockdown.memory import memory_store
from security.lockdown.places import controller_folder
from security.lockdown.releases import Decision
from security.lockdown.request import Heads
from security.lockdown.triggers import AlertPattern, Resources, Trip
from switchtower.connection import connect
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.jobs import FLAG_CHANNEL
from switchtower.lease import Lease, epoch_of, printable, read_flag
from switchtower.messages import new_identity, now_ms
from switchtower.queues import LOCKDOWN
from switchtower.settings import Settings

_LOOKS_PER_RENEWAL = 4
_LEADER_SHARE = 0.3
"""Of the lease: a dead leader is replaced while most of its last lease is left."""
_SURE_SHARE = 0.2
"""Of the lease: so long before its end nobody but a deleter can have taken it away."""
_BREATH_S = 0.01

logger = logging.getLogger(__name__)


class Controller:
    """One controller; `run` it in a process (or a thread) of its own."""

    def __init__(self, settings: Settings, heads: Heads | None = None) -> None:
        limits = settings.lockdown
        keys = settings.security.keys_directory
        self._ring, self._signer = KeyRing.load(keys), Signer.load(keys, Role.CONTROLLER)
        self._lease_ms = int(limits.lease_s * 1000)
        self._renew_s = limits.renew_s
        self._redis = connect(
            settings.broker,
            socket_timeout=limits.renew_s,
            socket_connect_timeout=limits.renew_s,
            encoding_errors="surrogateescape",  # so that what was read can be compared, whatever it is
        )
        self._store = memory_store(controller_folder(settings))
        self._memory = self._store.load()
        self._heads = heads
        self._leadership = Leadership(self._redis, int(self._lease_ms * _LEADER_SHARE))
        self._desk = Desk(self._redis, self._signer, settings, heads)
        self._alerts = AlertPattern(self._redis, limits.alerts, limits.window_s)
        self._resources = Resources(self._redis, settings)
        self._last: Lease | None = None
        self._renew_at = 0.0
        self._heard = 0
        self._leading: bool | None = None
        self._said = ""
        self._ended = threading.Event()

    def run(self) -> None:
        """Control until `stop` is called; whatever is wrong with the broker or the disk is tried again."""
        look_s = self._renew_s / _LOOKS_PER_RENEWAL
        while not self._ended.is_set():
            try:
                self._follow(look_s)
            except (RedisError, OSError) as error:
                self._say(f"not controlling: {type(error).__name__}: {error}")
                self._leading = None
                self._ended.wait(look_s)
        with suppress(RedisError, OSError):
            self._leadership.leave()
        self._redis.close()

    def _say(self, words: str) -> None:
        """Log what is new; trouble comes again four times a second."""
        if words != self._said:
            logger.warning("%s", words)
        self._said = words

    def stop(self) -> None:
        """Let `run` come to its end; another controller takes over at once, or the line locks with the lease."""
        self._ended.set()

    def _follow(self, look_s: float) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as push:
            push.subscribe(FLAG_CHANNEL)
            while not self._ended.wait(_BREATH_S):
                self.tick()
                message = push.get_message(timeout=look_s)
                while message:
                    self._hear(str(message["data"]))
                    message = push.get_message(timeout=0)

    def _hear(self, push: str) -> None:
        word, _, epoch = push.partition(" ")
        if word == "locked":
            self._heard = max(self._heard, epoch_of(epoch) or 0)

    def tick(self) -> None:
        """Look once, and act where this controller leads."""
        sight = self._see()
        found = self._judge(sight)
        self._learn(found, sight)
        leading = self._leadership.hold()
        if leading != self._leading:
            self._say(f"{self._leadership.name} {'leads' if leading else 'stands by'}")
        self._leading = leading
        if leading:
            self._act(found, sight)

    def _judge(self, sight: Sight) -> Judgement:
        found = judge(sight, self._memory, self._alive())
        undone = self._memory.open and self._heard > self._memory.epoch and found.finding is not Finding.LOCKED
        if undone and (sight.number or 0) <= self._memory.epoch:
            return Judgement(Finding.DOUBTFUL, f"lockdown {self._heard} was raised and is gone from the flag")
        return found

    def _alive(self) -> bool:
        """Whether the lease that was seen last cannot have run out, by this host's clock."""
        return self._last is not None and self._last.expires - now_ms() > self._lease_ms * _SURE_SHARE

    # -- what it knows ------------------------------------------------------------------------

    def _learn(self, found: Judgement, sight: Sight) -> None:
        """Remember what stands, on the disk, before anything is done about it."""
        if found.finding is Finding.OPEN and sight.lease:
            self._last = lease = sight.lease
            self._remember(epoch=lease.epoch, open=True, reason=lease.reason, by=lease.by, since=lease.since)
        elif found.finding is Finding.LOCKED and sight.raised:
            said = sight.raised
            self._remember(epoch=said.epoch, open=False, reason=said.reason, by=said.by, since=said.since or 0)

    def _remember(self, **known: object) -> None:
        new = self._memory.model_copy(update=known)
        if new == self._memory:
            return
        turned = (new.epoch, new.open) != (self._memory.epoch, self._memory.open)
        if turned:
            newest = self._heads.latest() if self._heads and not new.open else None
            new = new.model_copy(update={"head": newest.seq if newest else None})
        self._memory = self._store.save(new)
        if turned:
            self._say(f"{'open' if new.open else 'locked'} at epoch {new.epoch}, by {new.by}: {new.reason}")

    # -- what it does -------------------------------------------------------------------------

    def _act(self, found: Judgement, sight: Sight) -> None:
        if found.finding is Finding.DOUBTFUL:
            self._raise(sight, found.reason)
        elif found.finding is not Finding.LOCKED and time.monotonic() >= self._renew_at:
            self._renew(sight)
        if waiting := self._desk.take():
            self._serve(waiting)

    def _serve(self, waiting: list[str]) -> None:
        """Judge requests by what stands on the broker now: they may be younger than the last look."""
        sight = self._see()
        self._learn(self._judge(sight), sight)
        for decision in self._desk.decisions(waiting, lambda: self._memory):
            self._desk.answer(decision, not decision.openers or self._open(decision), self._memory.epoch)

    def _see(self) -> Sight:
        return see(*read_flag(self._redis), self._ring)

    def _renew(self, sight: Sight) -> None:
        if trip := self._tripped():
            self._raise(sight, trip.reason, trip)
            return
        memory = self._memory
        if self._hold_open(sight, memory.epoch, memory.by, memory.reason, memory.since):
            self._renew_at = time.monotonic() + self._renew_s

    def _tripped(self) -> Trip | None:
        trip, out = self._resources.check(self._memory.tripped)
        self._remember(tripped=out)
        return trip or self._alerts.check(self._memory.since)

    def _hold_open(
        self, sight: Sight, epoch: int, by: str, reason: str, since: int, push: str = "", notes: Sequence[str] = ()
    ) -> bool:
        expires = now_ms() + self._lease_ms
        lease = Lease(job=new_identity(), epoch=epoch, expires=expires, since=since, by=by, reason=reason)
        sealed = self._signer.seal(lease, LOCKDOWN, lease.job, expires).model_dump_json()
        if not self._leadership.change(sight, sealed, epoch, self._lease_ms, push, notes):
            return False
        self._last = lease
        return True

    def _raise(self, sight: Sight, reason: str, trip: Trip | None = None) -> None:
        """Put a raise of the controller's own where the doubtful value stands."""
        epoch = self._next_epoch(sight)
        events = [raised(reason, self._leadership.name)]
        if trip:
            events.append(self._event("trigger", trip.name, {"reason": reason}))
        value = locked_value(reason, "controller", epoch)
        notes = [note(event, self._signer) for event in events]
        if self._leadership.change(sight, value, epoch, push="locked", notes=notes):
            self._heard = 0
            self._remember(epoch=epoch, open=False, reason=reason, by="controller", since=now_ms())

    def _open(self, decision: Decision) -> bool:
        """Open the line in the operators' name; false where it was raised again meanwhile."""
        sight = self._see()
        if sight.number != self._memory.epoch:
            return False
        epoch, by, since = self._next_epoch(sight), " and ".join(decision.openers), now_ms()
        reason = printable(decision.reason, 500)
        event = self._event("lockdown", "open", {"epoch": epoch, "by": decision.openers, "reason": reason})
        if not self._hold_open(sight, epoch, by, reason, since, "open", [note(event, self._signer)]):
            return False
        self._remember(epoch=epoch, open=True, by=by, reason=reason, since=since)
        self._renew_at = time.monotonic() + self._renew_s
        return True

    def _next_epoch(self, sight: Sight) -> int:
        """Higher than every epoch that is known; from the clock, so that it rises even where all else is lost."""
        return max(self._memory.epoch + 1, (sight.number or 0) + 1, now_ms())

    def _event(self, topic: str, outcome: str, facts: dict[str, object]) -> AuditEvent:
        return AuditEvent.model_validate(
            {"job": new_identity(), "topic": topic, "outcome": outcome, "actor": self._leadership.name, "facts": facts}
        )
