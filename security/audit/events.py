"""What the audit remembers: one sealed event per verdict, decision or change, with no text of anybody's in it.

Whoever decides something puts the event on a Redis stream; the auditor, who alone writes, takes it from there.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import Field
from redis import Redis

from switchtower.envelope import Signer
from switchtower.jobs import AUDIT
from switchtower.messages import Hash, Message, now_ms
from switchtower.models import Name, Verdict
from switchtower.queues import AUDITED

MAX_BACKLOG = 1_000_000
_STANDING_MS = 10 * 365 * 86_400_000

Topic = Literal["verdict", "permission", "lockdown", "release", "refusal", "approval", "trigger", "gap", "state"]
Fact = str | int | float | bool | None | tuple[str, ...]


class AuditEvent(Message):
    """One thing that was decided; `facts` name rules, numbers and identities, never what somebody wrote."""

    kind: Literal["audit_event"] = "audit_event"
    topic: Topic
    outcome: Name
    actor: Name
    facts: dict[str, Fact] = Field(default_factory=dict)
    text_hash: Hash | None = None
    excerpt: str | None = Field(default=None, max_length=500, description="redacted, and only where policy says so")


def note(event: AuditEvent, signer: Signer | None) -> str:
    """The event as it stands on the stream: sealed, or bare where the one who speaks has no key."""
    if signer is None:
        return event.model_dump_json()
    return signer.seal(event, AUDITED, event.id, now_ms() + _STANDING_MS).model_dump_json()


def put(redis: Redis, event: AuditEvent, signer: Signer | None) -> None:
    """Put an event on the stream for the auditor."""
    redis.xadd(AUDIT, {"e": note(event, signer)}, maxlen=MAX_BACKLOG)


def of_verdict(message: Message, actor: str, verdict: Verdict, text: str, excerpt: str | None = None) -> AuditEvent:
    """The event of a guardrail's verdict on a text of this message's job."""
    facts: dict[str, Fact] = {
        "risk": verdict.risk,
        "surface": verdict.surface,
        "pack": verdict.pack,
        "rules": tuple(finding.rule for finding in verdict.findings),
    }
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    told = event("verdict", verdict.action, actor, message, facts, digest)
    return told.model_copy(update={"excerpt": excerpt})


def event(
    topic: Topic, outcome: str, actor: str, message: Message, facts: dict[str, Any], text_hash: str | None = None
) -> AuditEvent:
    """An event about a message's job."""
    return AuditEvent(topic=topic, outcome=outcome, actor=actor, facts=facts, text_hash=text_hash, **message.heirloom())
