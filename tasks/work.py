"""One claimed step: the message, who holds it, and the ways to report and to be stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from security.audit.events import AuditEvent, note
from switchtower.errors import JobExpired, JobMoved, LockdownActive, WorkerStopping
from switchtower.messages import Envelope, Message, now_ms
from tasks.line import Station
from workers.runtime import Runtime

M = TypeVar("M", bound=Message)


@dataclass
class Work(Generic[M]):
    """What a station's body works on."""

    message: M
    envelope: Envelope
    station: Station
    holder: str
    runtime: Runtime
    lost: threading.Event = field(default_factory=threading.Event)
    facts: dict[str, Any] = field(default_factory=dict)
    """Fields that the body adds to the ledger's record when the step is done."""
    notes: list[str] = field(default_factory=list)
    """Events for the audit, stored together with the step's outcome."""
    avoid: frozenset[str] = frozenset()
    """Models that had too little memory for this job."""

    @property
    def job(self) -> str:
        return self.envelope.job

    def emit(self, kind: str, **data: Any) -> None:
        """Publish progress to the job's stream; raises when the body must stop."""
        self.runtime.emit(self.job, self.holder, kind, **data)

    def check(self) -> None:
        """Raise when the body must stop; cheap enough for every token."""
        if self.runtime.halt.stopping:
            raise WorkerStopping
        if self.runtime.halt.is_set():
            raise LockdownActive
        if self.lost.is_set():
            raise JobMoved
        if now_ms() >= self.envelope.exp:
            raise JobExpired

    def audit(self, event: AuditEvent) -> None:
        """Let the audit know, in this worker's name, once the step is over."""
        self.notes.append(note(event, self.runtime.signer))

    def seal(self, outcome: Message, wire: str, identity: str) -> Envelope:
        return self.runtime.signer.seal(outcome, wire, identity, self.envelope.exp)
