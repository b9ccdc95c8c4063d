"""A controller's site for tests: an empty broker, a folder of its own, and operators who know their codes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from security.audit.events import AuditEvent
from security.lockdown import engage, status
from security.lockdown.founding import found
from security.lockdown.request import ReleaseRequest, ReleaseVerdict, request_release, wish
from security.lockdown.status import Status
from switchtower.envelope import KeyRing
from switchtower.jobs import AUDIT
from switchtower.lease import Flag, read_flag
from switchtower.settings import Settings
from tests.support.harness import Harness
from tests.support.person import Person


@dataclass
class Site:
    """One controller's settings and what is around it."""

    redis: Redis
    settings: Settings

    @classmethod
    def on(cls, broker: Harness, folder: Path, **limits: Any) -> Site:
        """An empty broker that the controller of this folder may open."""
        lockdown = broker.settings.lockdown.model_copy(update={"directory": folder / "controller", **limits})
        broker.redis.flushdb()
        made = cls(broker.redis, broker.settings.model_copy(update={"lockdown": lockdown}))
        found(made.redis, made.settings, "a test")
        return made

    @property
    def ring(self) -> KeyRing:
        return KeyRing.load(self.settings.security.keys_directory)

    @property
    def status(self) -> Status:
        return status(self.redis, self.ring)

    def with_limits(self, **limits: Any) -> Site:
        """The same site with other settings."""
        lockdown = self.settings.lockdown.model_copy(update=limits)
        return Site(self.redis, self.settings.model_copy(update={"lockdown": lockdown}))

    def person(self, name: str) -> Person:
        """A new operator."""
        return Person.on(self.settings, name)

    def lock(self) -> int:
        return engage(self.redis, "a drill", "test")

    def ask(
        self,
        person: Person,
        code: str | None = None,
        epoch: int | None = None,
        head: str | None = None,
        wait_s: float = 10,
    ) -> ReleaseVerdict:
        """Ask for a release, as `switchtower lockdown release` does."""
        return request_release(self.redis, self.ring, person.signer, self.wish(person, code, epoch, head), wait_s)

    def wish(
        self, person: Person, code: str | None = None, epoch: int | None = None, head: str | None = None
    ) -> ReleaseRequest:
        return wish(person.signer, epoch or self.status.epoch, code or person.code(), head, "the drill is over")

    def open_to(self, flag: Flag) -> bool:
        """Whether a worker with this reader would run now."""
        return flag.accept(*read_flag(self.redis))

    def audited(self, topic: str) -> list[AuditEvent]:
        """What has been put down for the audit on a topic, oldest first."""
        events = [_event(json.loads(fields["e"])) for _, fields in self.redis.xrange(AUDIT)]
        return [event for event in events if event.topic == topic]


def _event(note: dict[str, Any]) -> AuditEvent:
    return AuditEvent.model_validate_json(note["payload"]) if "payload" in note else AuditEvent.model_validate(note)


@contextmanager
def frozen(process: int) -> Iterator[None]:
    """A process that stands still while the block runs."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
