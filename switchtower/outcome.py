"""From a job's record to its result or its error; from its events to text."""

from __future__ import annotations

import json
from typing import TypeVar

from switchtower import errors
from switchtower.envelope import KeyRing, Role, check_address, parse, unpack, verify
from switchtower.errors import JobCancelled, JobExpired, JobFailed, StreamDiverged, SwitchtowerError
from switchtower.jobs import Event, Record, State
from switchtower.messages import JobResult, Message, TrainingReport
from switchtower.queues import RESULT, step_id

Sealed = TypeVar("Sealed", bound=Message)

_ENDINGS: dict[State, type[SwitchtowerError]] = {
    State.REFUSED: errors.GuardrailRefused,
    State.EXPIRED: JobExpired,
    State.CANCELLED: JobCancelled,
    State.FAILED: JobFailed,
}


def outcome(record: Record, ring: KeyRing, limit: int) -> JobResult:
    """The result of a finished job, its guardrail seal verified; raises the error that ended any other."""
    return _sealed(record, ring, limit, Role.GUARDRAIL, JobResult)


def report(record: Record, ring: KeyRing, limit: int) -> TrainingReport:
    """The report of a finished training, its seal verified; raises the error that ended any other."""
    return _sealed(record, ring, limit, Role.TRAIN, TrainingReport)


def _sealed(record: Record, ring: KeyRing, limit: int, role: Role, kind: type[Sealed]) -> Sealed:
    if record.state is State.DONE:
        envelope = parse(json.loads(record.result or "null"), 4 * limit)
        verify(envelope, ring)
        check_address(envelope, RESULT, step_id(record.job, RESULT), {role})
        return unpack(envelope, kind)
    raise _error(record)


def _error(record: Record) -> SwitchtowerError:
    named = getattr(errors, record.error or "", None)
    default = _ENDINGS[record.state]
    kind = named if isinstance(named, type) and issubclass(named, default) else default
    return kind(f"job {record.job} {record.state}: {record.message}" if record.message else None)


class TextCursor:
    """Turns events into pieces of text, once each, also when a generation had to start again."""

    def __init__(self) -> None:
        self._given = ""
        self._now = ""

    def feed(self, event: Event) -> str:
        """The new piece of text in this event, or ''; raises `StreamDiverged`."""
        if event.begins_text:
            self._now = ""
        if event.kind != "token":
            return ""
        self._now += event.text
        if len(self._now) <= len(self._given):
            self._expect(self._given.startswith(self._now))
            return ""
        self._expect(self._now.startswith(self._given))
        fresh, self._given = self._now[len(self._given) :], self._now
        return fresh

    @staticmethod
    def _expect(same: bool) -> None:
        if not same:
            raise StreamDiverged
