"""Who may release: what a controller demands of a request before it opens the line.

Demanded are an operator's seal, made for this lockdown within the last minute and never read before; the head of
the audit as it was when the lockdown came or later; a one-time code that fits and was not used (RFC 6238, section
5.2); and a second operator where the settings say so. Failed codes count against the operator who sealed them, and
against nobody else, so that a stranger cannot use up anybody's attempts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from security.lockdown.memory import Book, Memory, Store
from security.lockdown.operators import Operator, known, ring_of
from security.lockdown.places import operators_folder
from security.lockdown.request import LIFE_MS, LIMIT, Heads, Outcome, ReleaseRequest
from switchtower.envelope import SKEW_MS, Role, admit, parse, unpack
from switchtower.errors import ConfigurationError, EnvelopeRefused, MalformedEnvelope
from switchtower.messages import Envelope, now_ms
from switchtower.queues import LOCKDOWN
from switchtower.settings import Settings


@dataclass(frozen=True)
class Decision:
    """What is to be answered, and by whom the line is opened if it is."""

    outcome: Outcome
    text: str
    request: ReleaseRequest | None = None
    envelope: Envelope | None = None
    operator: str = ""
    until: int | None = None
    openers: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """Why the operator thinks that it is safe now."""
        return self.request.reason if self.request else ""


class Denied(Exception):
    """The request may not pass."""

    def __init__(self, outcome: Outcome, text: str, until: int | None = None) -> None:
        super().__init__(text)
        self.outcome, self.text, self.until = outcome, text, until


class Releases:
    """Judges requests to release; whatever counts is on the disk before the answer is given."""

    def __init__(self, settings: Settings, store: Store[Book], heads: Heads | None) -> None:
        self._limits = settings.lockdown
        self._folder = operators_folder(settings)
        self._store = store
        self._book = store.load()
        self._heads = heads

    def decide(self, raw: str, memory: Memory) -> Decision:
        """Say what becomes of a request as it came from the broker."""
        envelope: Envelope | None = None
        try:
            envelope = _parsed(raw)
            operator, request = self._admitted(envelope)
        except (EnvelopeRefused, ConfigurationError) as error:
            return Decision("not_admitted", f"{type(error).__name__}: {error}", envelope=envelope)
        try:
            openers = self._proven(envelope, operator, request, memory)
        except Denied as denied:
            return Decision(denied.outcome, denied.text, request, envelope, operator.name, denied.until)
        text = f"the line is open again, released by {' and '.join(openers)}"
        return Decision("released", text, request, envelope, operator.name, openers=openers)

    def _admitted(self, envelope: Envelope) -> tuple[Operator, ReleaseRequest]:
        operators = known(self._folder)
        admit(envelope, ring_of(operators), LOCKDOWN, envelope.id, {Role.OPERATOR})
        request = unpack(envelope, ReleaseRequest)
        if request.id != envelope.id or envelope.exp - envelope.iat > LIFE_MS:
            raise MalformedEnvelope("a request to release bears its own id, and is good for a minute at most")
        return next(one for one in operators if one.kid == envelope.kid), request

    def _proven(
        self, envelope: Envelope, operator: Operator, request: ReleaseRequest, memory: Memory
    ) -> tuple[str, ...]:
        self._once(envelope)
        self._check_rate(operator.name)
        self._check_epoch(request, memory)
        self._check_head(request, memory)
        self._check_code(operator, request)
        return self._agreed(operator.name, request.epoch)

    def _once(self, envelope: Envelope) -> None:
        now = now_ms()
        nonces = {nonce: until for nonce, until in self._book.nonces.items() if until > now}
        if envelope.nonce in nonces:
            raise Denied("replayed", "this request was read before")
        nonces[envelope.nonce] = envelope.exp + SKEW_MS
        self._note(nonces=nonces)

    def _check_rate(self, name: str) -> None:
        failures, limits = self._failures(name), self._limits
        if len(failures) >= limits.release_attempts:
            until = failures[-limits.release_attempts] + int(limits.release_window_s * 1000)
            clock = datetime.fromtimestamp(until / 1000, UTC).isoformat(timespec="seconds")
            raise Denied("rate_limited", f"{name} has failed {len(failures)} times; try again after {clock}", until)

    @staticmethod
    def _check_epoch(request: ReleaseRequest, memory: Memory) -> None:
        if memory.open:
            raise Denied("not_locked", "the line is not locked")
        if request.epoch != memory.epoch:
            raise Denied(
                "stale_epoch",
                f"you looked at lockdown {request.epoch}; by now {memory.epoch} stands: {memory.reason}; look again",
            )

    def _check_head(self, request: ReleaseRequest, memory: Memory) -> None:
        if self._heads is None:
            return
        try:
            head = self._heads.find(request.head) if request.head else None
        except OSError as error:
            raise Denied("wrong_head", f"the controller cannot read the audit's heads: {error.strerror}") from None
        if head is None or head.seq < (memory.head or 0):
            raise Denied("wrong_head", "the request does not bear the audit's head of this incident, or a later one")

    def _check_code(self, operator: Operator, request: ReleaseRequest) -> None:
        step = operator.step_of(request.code)
        if step is None:
            self._fail(operator.name)
            raise Denied("wrong_code", "the one-time code is wrong; check this machine's and the phone's clock")
        if step <= self._book.codes.get(operator.kid, 0):
            self._fail(operator.name)
            raise Denied("used_code", "this one-time code was used already; wait for the next one")
        self._note(codes=self._book.codes | {operator.kid: step})

    def _agreed(self, name: str, epoch: int) -> tuple[str, ...]:
        """Who has asked for this release; raises until two have, where it takes two."""
        since = now_ms() - int(self._limits.release_window_s * 1000)
        kept = self._book.consents if self._book.epoch == epoch else {}
        names = {one.name for one in known(self._folder)}
        consents = {one: at for one, at in kept.items() if at > since and one in names} | {name: now_ms()}
        self._note(epoch=epoch, consents=consents)
        if self._limits.second_person and len(consents) < 2:  # noqa: PLR2004 - two persons
            until = now_ms() + int(self._limits.release_window_s * 1000)
            raise Denied("second_person", "noted; now a second operator must ask for the release too", until)
        return tuple(consents) if self._limits.second_person else (name,)

    def _failures(self, name: str) -> tuple[int, ...]:
        since = now_ms() - int(self._limits.release_window_s * 1000)
        return tuple(at for at in self._book.failures.get(name, ()) if at > since)

    def _fail(self, name: str) -> None:
        self._note(failures=self._book.failures | {name: (*self._failures(name), now_ms())})

    def _note(self, **changes: object) -> None:
        self._book = self._store.save(self._book.model_copy(update=changes))


def _parsed(raw: str) -> Envelope:
    """The request's envelope; raises `EnvelopeRefused`."""
    try:
        return parse(json.loads(raw[: 2 * LIMIT]), LIMIT)
    except (ValueError, RecursionError):
        raise MalformedEnvelope("a request to release that is no envelope") from None
