"""What every station of a worker process shares: keys, ledger, the flag, the leases that it holds."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

from celery import Celery
from redis import Redis

from security.halt import Halt
from switchtower.connection import connect, shared
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import ConfigurationError, LockdownActive
from switchtower.lease import Flag, read_flag
from switchtower.ledger import Claim, Ledger
from switchtower.messages import Envelope, Message
from switchtower.settings import Settings
from workers.keeper import Keeper


class Runtime:
    """The tools of one worker process, each made when first used, so that nothing crosses a fork."""

    def __init__(self, app: Celery, settings: Settings, role: Role | None, halt: Halt | None = None) -> None:
        self.app = app
        self.settings = settings
        self.role = role
        self.halt = halt or Halt(settings.security.stale_s)
        self.away = threading.Event()
        """What this worker serves is not there now: it leaves its queues to others, and comes back to them."""

    @cached_property
    def ring(self) -> KeyRing:
        return KeyRing.load(self.settings.security.keys_directory)

    @cached_property
    def signer(self) -> Signer:
        if self.role is None:
            raise ConfigurationError("this kind of worker seals nothing and has no key")
        return Signer.load(self.settings.security.keys_directory, self.role)

    @cached_property
    def flag(self) -> Flag:
        return Flag(self.ring)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(shared(self.settings.broker), self.settings.line)

    @cached_property
    def keeper(self) -> Keeper:
        conf = self.app.conf
        capacity = 1 if conf.worker_pool == "prefork" else conf.worker_concurrency
        return Keeper(self.ledger, self.settings.line.lease_s / 3, capacity or 0)

    @cached_property
    def _gate(self) -> Redis:
        """A connection that reads the flag, whatever bytes stand in it."""
        return connect(self.settings.broker, encoding_errors="replace")

    def claim(self, envelope: Envelope, holder: str, fresh: Message | None, canvas: str) -> Claim:
        """Pass the gate and take the step.

        Asked again where the flag is new but verified, and where the job is unknown but `fresh` may enter it.
        """
        claim = self.ledger.claim(envelope, holder, self.flag.verified, canvas=canvas)
        if claim.answer == "halted" and self.renewed():
            claim = self.ledger.claim(envelope, holder, self.flag.verified, canvas=canvas)
        if claim.answer == "unknown" and fresh:
            claim = self.ledger.claim(envelope, holder, self.flag.verified, fresh, canvas)
        return claim

    def emit(self, job: str, holder: str, kind: str, **data: Any) -> None:
        """Publish progress; raises `LockdownActive` or `JobMoved` where the holder must stop."""
        try:
            self.ledger.emit(job, holder, self.flag.verified, kind, **data)
        except LockdownActive:
            if not self.renewed():
                raise
            self.ledger.emit(job, holder, self.flag.verified, kind, **data)

    def renewed(self) -> bool:
        """Whether the flag is only another one than before, and says open: the lease is renewed each second."""
        return self.flag.accept(*read_flag(self._gate))
