"""From a job's record to its result or its error; from its events to text."""

from __future__ import annotations

import json

from switchtower import errors
from switchtower.envelope import KeyRing, Role, check_address, parse, unpack, verify
from switchtower.errors import JobCancelled, JobExpired, JobFailed, StreamDiverged, SwitchtowerError
from switchtower.jobs import Event, Record, State
from switchtower.messages import JobResult
from switchtower.queues import RESULT, step_id

_ENDINGS: dict[State, type[SwitchtowerError]] = {
    State.REFUSED: errors.GuardrailRefused,
    State.EXPIRED: JobExpired,
    State.CANCELLED: JobCancelled,
    State.FAILED: JobFailed,
}


def outcome(record: Record, ring: KeyRing, limit: int) -> JobResult:
    """The result of a finished job, its guardrail seal verified; raises the error that ended any other."""
    if record.state is State.DONE:
        envelope = parse(json.loads(record.result or "null"), 4 * limit)
        verify(envelope, ring)
        check_address(envelope, RESULT, step_id(record.job, RESULT), {Role.GUARDRAIL})
        return unpack(envelope, JobResult)
    named = getattr(errors, record.error or "", None)
    default = _ENDINGS[record.state]
    kind = named if isinstance(named, type) and issubclass(named, default) else default
    raise kind(f"job {record.job} {record.state}: {record.message}" if record.message else None)


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
