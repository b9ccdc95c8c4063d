"""From what stands on the stream to an entry of the trail: whose word is it, and does it count?

The stream is anybody's to write to, so everything here may be hostile. What cannot be believed becomes
the auditor's own testimony: that something came, what it claimed, and its hash, never its text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pydantic import TypeAdapter, ValidationError

from security.audit.events import AuditEvent, note
from security.audit.rows import Entry, canonical
from security.audit.speakers import NOBODY, may_speak
from switchtower.envelope import KeyRing, Role, Signer, check_address, check_time, parse, unpack, verify
from switchtower.errors import ConfigurationError, EnvelopeRefused, UnknownKey, WrongIdentity, WrongRole
from switchtower.messages import Envelope, Identity, new_identity
from switchtower.models import Name
from switchtower.queues import AUDITED

Json = dict[str, Any]


class Reader:
    """Reads notes with the key ring as it is on the disk now, and testifies in the auditor's name."""

    def __init__(self, load_ring: Callable[[], KeyRing], signer: Signer, limit: int) -> None:
        self._load = load_ring
        self._ring = load_ring()
        self._signer = signer
        self._limit = limit

    def read(self, raw: bytes) -> Entry:
        """The entry for a note; never raises, whatever the note is."""
        digest, said = hashlib.sha256(raw).hexdigest(), dict[str, Any]()
        try:
            said = self._parsed(raw)
            return self._sealed(said) if "sig" in said else _bare(raw, digest)
        except EnvelopeRefused as refusal:
            return self._disbelieve("forged", digest, refusal, said)
        except (ValueError, RecursionError) as error:  # so are a UnicodeDecodeError and a ValidationError
            return self._disbelieve("malformed", digest, error, said)

    def testify(
        self, topic: str, outcome: str, digest: str | None = None, job: str | None = None, **facts: Any
    ) -> Entry:
        """An entry on the auditor's own word."""
        event = AuditEvent.model_validate(
            {"job": job or new_identity(), "topic": topic, "outcome": outcome, "actor": Role.AUDITOR, "facts": facts}
        )
        sealed = note(event, self._signer)
        envelope = Envelope.model_validate_json(sealed)
        return entry_of(event, envelope, digest or hashlib.sha256(sealed.encode()).hexdigest())

    def malformed(self, entry: Entry, why: str) -> Entry:
        """What is written in the place of an entry that the database does not take."""
        return self.testify("refusal", "malformed", entry.note_hash, error=why)

    def _parsed(self, raw: bytes) -> Json:
        if len(raw) > self._limit:
            raise ValueError("too long")
        return _OBJECT.validate_python(json.loads(raw.decode()), strict=True)

    def _sealed(self, said: Json) -> Entry:
        envelope = parse(said, self._limit)
        check_time(envelope)
        event = self._opened(envelope)
        if not may_speak(envelope.role, event):
            raise WrongRole(f"{envelope.role} has no say in {event.topic} {event.outcome}")
        # Over the envelope's own spelling, so that white space does not make a second note of it.
        return entry_of(event, envelope, hashlib.sha256(envelope.model_dump_json().encode()).hexdigest())

    def _opened(self, envelope: Envelope) -> AuditEvent:
        try:
            return opened(envelope, self._ring)
        except UnknownKey:
            self._renew()
            return opened(envelope, self._ring)

    def _renew(self) -> None:
        """Read the ring again: a key may have joined; a damaged file leaves the old ring in force."""
        with suppress(ConfigurationError):
            self._ring = self._load()

    def _disbelieve(self, outcome: str, digest: str, error: Exception, said: Json) -> Entry:
        facts = {"error": type(error).__name__, **_claims(said)}
        return self.testify("refusal", outcome, digest, _valid(_JOB, said.get("job")), **facts)


def opened(envelope: Envelope, ring: KeyRing) -> AuditEvent:
    """The event inside; raises `EnvelopeRefused` unless a key of the ring sealed it for the audit."""
    verify(envelope, ring)
    check_address(envelope, AUDITED, envelope.id, tuple(Role))
    event = unpack(envelope, AuditEvent)
    if event.id != envelope.id:
        raise WrongIdentity("the event and its envelope have different ids")
    return event


def entry_of(event: AuditEvent, envelope: Envelope | None, digest: str) -> Entry:
    """An event as an entry; raises `ValueError` where PostgreSQL could not store it."""
    if any("\0" in text for text in _texts(event)):
        raise ValueError("a NUL character")
    return Entry(
        at=event.created,
        event=event.id,
        topic=event.topic,
        outcome=event.outcome,
        actor=event.actor,
        job=event.job,
        tenant=event.tenant,
        username=event.user,
        sealed_by=envelope.role if envelope else NOBODY,
        kid=envelope.kid if envelope else None,
        facts_text=canonical(event.facts),
        text_hash=event.text_hash,
        excerpt=event.excerpt,
        seal=envelope.model_dump_json() if envelope else None,
        note_hash=digest,
    )


def _bare(raw: bytes, digest: str) -> Entry:
    """The word of somebody without a key, where that counts."""
    event = AuditEvent.model_validate_json(raw)
    if not may_speak(NOBODY, event):
        raise WrongRole(f"nobody has no say in {event.topic} {event.outcome}")
    return entry_of(event, None, digest)


def _texts(event: AuditEvent) -> Iterator[str]:
    yield event.excerpt or ""
    for name, value in event.facts.items():
        yield name
        yield from value if isinstance(value, tuple) else [value] if isinstance(value, str) else []


_OBJECT: TypeAdapter[Json] = TypeAdapter(Json)
_JOB: TypeAdapter[str] = TypeAdapter(Identity)
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def _valid(kind: TypeAdapter[str], value: Any) -> str | None:
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError:
        return None


def _claims(said: Json) -> Json:
    """What a note that is not believed says of itself, as far as that is a name and not a text."""
    try:
        inside = json.loads(said["payload"]) if "payload" in said else said
    except (ValueError, TypeError, RecursionError):
        inside = None
    claims = {f"claimed_{name}": _valid(_NAME, said.get(name)) for name in ("role", "kid")}
    if isinstance(inside, dict):
        claims |= {f"claimed_{name}": _valid(_NAME, inside.get(name)) for name in ("topic", "outcome")}
    return {name: value for name, value in claims.items() if value}
