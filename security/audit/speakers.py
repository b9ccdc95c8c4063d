"""Whose word counts for what: the one table of which role may put which topic into the trail.

A well-sealed event of a role that may not speak for its topic is recorded as forged, so that a stolen
worker's key plants no false release. `nobody` is whoever has no key: a raise of the lockdown and the
refusal of a message may be told by anyone, and are marked as nobody's word.
"""

from __future__ import annotations

from security.audit.events import AuditEvent
from switchtower.envelope import Role

NOBODY = "nobody"

_ANYONE = frozenset({NOBODY, *Role})

SPEAKERS: dict[str, frozenset[str]] = {
    "verdict":    frozenset({Role.GUARDRAIL, Role.GPU}),
    "permission": frozenset({Role.GUARDRAIL}),
    "approval":   frozenset({Role.OPERATOR}),
    "lockdown":   frozenset({Role.CONTROLLER}),
    "release":    frozenset({Role.CONTROLLER}),
    "trigger":    frozenset({Role.CONTROLLER}),
    "refusal":    _ANYONE,
    "gap":        frozenset({Role.AUDITOR}),
    "state":      frozenset({Role.OPERATOR}),
}  # fmt: skip

RAISE = ("lockdown", "locked")
"""The one thing that anyone may tell of the lockdown, as anyone may do it."""


def may_speak(role: str, event: AuditEvent) -> bool:
    """Whether this role's word counts for the event's topic and outcome."""
    if (event.topic, event.outcome) == RAISE:
        return role in _ANYONE
    return role in SPEAKERS[event.topic]
