"""The auditor's work: from the stream into the chain, one transaction a batch, and a signed head now and then.

Only the leader reads. Whatever goes wrong with PostgreSQL, the broker or the disk, it waits and tries
again; what waits on the stream waits too. Where the table is not what the auditor has signed, it writes
nothing more: a chain that goes on from a false row would make that row look true.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import psycopg
from redis import Redis
from redis.exceptions import RedisError

from security.audit.heads import Mirror
from security.audit.inbox import LOST_COUNT, Inbox
from security.audit.reading import Reader
from security.audit.rows import Entry, Mark
from security.audit.trail import Trail, connect
from switchtower.connection import connect as connect_broker
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import AuditBroken
from switchtower.settings import Settings

_FIRST_PAUSE_S = 0.2
_STANDBY_S = 0.5
_LOOK_MS = 200
_SAY_S = 2

logger = logging.getLogger(__name__)


class Writer:
    """One auditor; two may run, and one writes."""

    def __init__(self, settings: Settings) -> None:
        keys = settings.security.keys_directory
        self._audit = settings.audit
        self._signer = Signer.load(keys, Role.AUDITOR)
        self._reader = Reader(partial(KeyRing.load, keys), self._signer, settings.audit.max_note_bytes)
        self._mirror = Mirror.of(settings)
        # A note may hold any bytes.
        self._redis: Redis = connect_broker(settings.broker, decode_responses=False)
        self._inbox = Inbox(self._redis)
        self._head = self._mirrored = Mark()
        self._covered_at = 0.0
        self._said = ("", 0.0)
        self._pause = _FIRST_PAUSE_S

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop; raises only what waiting cannot mend (`ConfigurationError`)."""
        while not stop.is_set():
            try:
                with connect(self._audit.url, "URL") as connection:
                    self._session(Trail(connection), stop)
            except (psycopg.Error, RedisError, OSError, AuditBroken) as error:
                self._wait(stop, error)
        self._redis.close()

    def _session(self, trail: Trail, stop: threading.Event) -> None:
        while not trail.lead():
            if stop.wait(_STANDBY_S):
                return
        self._resume(trail)
        while not stop.is_set():
            self.step(trail)
            self._pause = _FIRST_PAUSE_S
        self._cover(trail, at_once=True)

    def _resume(self, trail: Trail) -> None:
        """Go on from where the chain ends, which must not lie before, or beside, what was signed."""
        found = self._mirror.latest()
        self._mirrored = found.mark if found else Mark()
        self._head = trail.head()
        self._expect(trail, self._mirrored)
        logger.info("this auditor writes, from row %d on", self._head.seq)
        if not self._head.seq:
            self._inbox.begin()
        elif not found:
            self._write(trail, [self._reader.testify("gap", "no-heads", rows=self._head.seq)])

    def step(self, trail: Trail) -> None:
        """Write what waits, or wait a moment for it; sign the head; then let go, and look whether anything was lost."""
        letters = self._inbox.read(self._audit.batch, _LOOK_MS)
        if letters:
            self._write(trail, [self._reader.read(letter.raw) for letter in letters])
        self._cover(trail)
        if letters and not self._inbox.take(letters):
            self._write(trail, [self._reader.testify("gap", LOST_COUNT)])
        self._look_for_loss(trail)
        self._say("writing")

    # -- the chain ----------------------------------------------------------------------------

    def _write(self, trail: Trail, entries: Sequence[Entry]) -> None:
        """Append; where somebody else has appended meanwhile, that goes on record too."""
        actual = trail.head()
        if actual != self._head:
            self._expect(trail, self._head)
            entries = [self._reader.testify("gap", "foreign-rows", since=self._head.seq, to=actual.seq), *entries]
        self._head = actual
        try:
            self._head = trail.append(actual, entries)
        except psycopg.errors.UniqueViolation:
            if trail.head() == actual:
                raise
            self._write(trail, entries)  # somebody was faster, past the lock
        except psycopg.DataError:
            for entry in entries:
                self._head = self._write_one(trail, entry)

    def _write_one(self, trail: Trail, entry: Entry) -> Mark:
        """One entry of a batch that PostgreSQL did not take; the one that it cannot store is told of."""
        try:
            return trail.append(self._head, [entry])
        except psycopg.DataError as error:
            return trail.append(self._head, [self._reader.malformed(entry, type(error).__name__)])

    @staticmethod
    def _expect(trail: Trail, mark: Mark) -> None:
        if not trail.holds(mark):
            raise AuditBroken(f"row {mark.seq} is not the one that was written; see `switchtower audit verify`")

    def _look_for_loss(self, trail: Trail) -> None:
        loss = self._inbox.loss()
        if loss is None:
            return
        logger.warning("audit events are missing from the stream: %s, %s", loss.outcome, loss.count)
        self._write(trail, [self._reader.testify("gap", loss.outcome, count=loss.count)])
        self._inbox.settle(loss.taken)

    # -- heads, and what is told --------------------------------------------------------------

    def _cover(self, trail: Trail, at_once: bool = False) -> None:
        """Sign the head when enough rows, or enough time, have passed since the last one."""
        if self._head == self._mirrored:
            return
        many = self._head.seq - self._mirrored.seq >= self._audit.head_rows
        if at_once or many or time.monotonic() - self._covered_at >= self._audit.head_s:
            self._expect(trail, self._head)
            self._mirror.append(self._head, self._signer)
            self._mirrored, self._covered_at = self._head, time.monotonic()

    def _wait(self, stop: threading.Event, error: Exception) -> None:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        logger.warning("not writing, the events wait: %s", what[:300])
        with suppress(RedisError):
            self._say(f"waiting ({what})")
        stop.wait(self._pause)
        self._pause = min(self._pause * 2, self._audit.patience_s)

    def _say(self, state: str) -> None:
        if self._said[0] != state or time.monotonic() - self._said[1] > _SAY_S:
            self._inbox.say(state)
            self._said = (state, time.monotonic())
