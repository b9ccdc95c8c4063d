"""Permission requests, a manager and a desk for tests, with a lockdown that only notes that it was raised."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from security.permissions.cases import Case
from security.permissions.desk import Desk
from security.permissions.grants import Grant
from security.permissions.manager import PermissionManager
from security.permissions.resources import groups_of
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.jobs import AUDIT
from switchtower.messages import PermissionRequest, new_identity, now_ms
from switchtower.models import Capability, ModelCard, Provider
from switchtower.settings import Permissions, Settings
from tests.support.harness import Harness

JOB = new_identity()
HOUR_MS = 3_600_000


def card(name: str, provider: Provider = Provider.LOCAL, adapter: str | None = None) -> ModelCard:
    """A model of any provider."""
    capabilities = frozenset({Capability.GENERAL})
    return ModelCard(name=name, provider=provider, adapter=adapter, capabilities=capabilities)


CARDS = {
    "local": card("local"),
    "writer": card("writer", adapter="writer"),
    "cloud": card("cloud", Provider.OPENAI),
}
"""The models that are known; any other name is unknown."""


def groups(name: str) -> frozenset[str]:
    return groups_of(CARDS.get(name))


def asking(
    action: str, resource: str, model: str = "local", *, tainted: bool = False, **fields: Any
) -> PermissionRequest:
    """A request of a model."""
    known = {"model": model, "action": action, "resource": resource, "tainted": tainted, "explanation": "because"}
    return PermissionRequest.model_validate({"job": JOB} | known | fields)


def case(action: str, resource: str, model: str = "local", *, tainted: bool = False, **fields: Any) -> Case:
    """The same as the policies see it."""
    return Case.of(asking(action, resource, model, tainted=tainted, **fields), tainted, groups, now_ms())


def given_to(
    model: str = "local", action: str = "file_write", resource: str = "uploads/notes.txt", **fields: Any
) -> Grant:
    """A grant for an hour that an operator has yet to give."""
    known = {"job": JOB, "model": model, "action": action, "resource": resource, "expires": now_ms() + HOUR_MS}
    return Grant.model_validate(known | fields)


@dataclass
class Office:
    """Whoever decides, and whoever answers, on one broker."""

    broker: Harness
    limits: Permissions = field(default_factory=Permissions)
    locked: bool = False
    raised: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = self.broker.redis
        self.ring: KeyRing = self.broker.ring
        self.operator: Signer = self.broker.signer(Role.OPERATOR)
        self.manager = PermissionManager(
            self.redis,
            self.broker.signer(Role.GUARDRAIL),
            self.ring,
            self.settings,
            cards=CARDS.get,
            locked=lambda: self.locked,
            raise_lockdown=self.raised.append,
        )
        self.desk = Desk(self.redis, self.ring, self.limits)

    @property
    def settings(self) -> Settings:
        return self.broker.settings.model_copy(update={"permissions": self.limits})

    def asked(self, action: str, resource: str, model: str = "local", **fields: Any) -> str:
        """The id of the question that a request leads to."""
        decision = self.manager.decide(asking(action, resource, model, **fields))
        assert decision.question
        assert decision.pending
        return decision.question

    def audit(self, topic: str) -> list[dict[str, Any]]:
        """The audited events of a topic, oldest first, without their seals."""
        entries = self.redis.xrange(AUDIT)
        events = [json.loads(json.loads(fields["e"])["payload"]) for _, fields in entries]
        return [one for one in events if one["topic"] == topic]

    def signers(self) -> set[str]:
        """Which roles have sealed the audit's events."""
        return {json.loads(fields["e"])["role"] for _, fields in self.redis.xrange(AUDIT)}


def policy(folder: Path, text: str, name: str = "own.cedar") -> Path:
    """A policy file of a deployment's own."""
    path = folder / name
    path.write_text(text)
    return path


OVERRIDE = """
@id("writer-stays-out")
@explanation("The writer writes nothing.")
forbid (principal == Model::"writer", action == Action::"file_write", resource);
"""
