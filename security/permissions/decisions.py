"""A decision in the making, and how it is kept: stored for those who ask later, and audited."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from security.audit.events import event, put
from security.permissions.grants import Grant
from security.permissions.questions import ASKER, Question
from security.permissions.rulings import Ruling
from security.permissions.seals import genuine
from switchtower.envelope import KeyRing, Signer
from switchtower.messages import PermissionDecision, PermissionRequest, now_ms
from switchtower.queues import key

WIRE = "switchtower.permission.decision"
ACTOR = "permissions"
_MAX_REASON = 500


@dataclass
class Draft:
    """What is known of a request while it is decided on; `resource` is canonical, and empty until it is."""

    request: PermissionRequest
    tainted: bool
    version: str
    resource: str = ""

    def granted(self, ruling: Ruling, expires: int, grant: Grant | None = None) -> PermissionDecision:
        """A yes that may be used until then."""
        reason = ruling.reason if grant is None else f"{ruling.reason} {grant.user} has agreed."
        return self._decision(reason, ruling, granted=True, expires=expires, grant=grant.id if grant else None)

    def denied(self, reason: str, ruling: Ruling | None = None) -> PermissionDecision:
        """A no."""
        return self._decision(reason, ruling, granted=False)

    def asking(self, ruling: Ruling, question: str, expires: int | None = None) -> PermissionDecision:
        """Not yet: a human is asked, because of that ruling."""
        reason = f"a human is asked: {ruling.policies[0].explanation}"
        return self._decision(reason, ruling, granted=False, question=question, expires=expires)

    def pending(self, question: Question) -> PermissionDecision:
        """The same, of a question that was put before."""
        known = {"question": question.id, "expires": question.expires, "policies": question.policies}
        return self._decision(f"a human is asked: {question.reason}", None, granted=False, **known)

    def _decision(self, reason: str, ruling: Ruling | None, **fields: object) -> PermissionDecision:
        known = {
            **self.request.heirloom(),
            "request": self.request.id,
            "model": self.request.model,
            "action": self.request.action,
            "resource": self.resource,
            "reason": reason[:_MAX_REASON],
            "policies": ruling.ids if ruling else (),
            "version": self.version,
        }
        return PermissionDecision.model_validate(known | fields)


def keep(redis: Redis, decision: PermissionDecision, tainted: bool, signer: Signer, kept_ms: int) -> None:
    """Store the decision for that long and audit it, both or neither."""
    until = now_ms() + kept_ms
    sealed = signer.seal(decision, WIRE, decision.id, until).model_dump_json()
    with redis.pipeline() as pipe:
        pipe.set(_key(decision.request), sealed, pxat=until)
        put(pipe, event("permission", _outcome(decision), ACTOR, decision, _facts(decision, tainted)), signer)
        pipe.execute()


def find(redis: Redis, ring: KeyRing, request: str) -> PermissionDecision | None:
    """The last decision on a request, if it is genuine and remembered."""
    found = genuine(redis.get(_key(request)), ring, WIRE, ASKER, PermissionDecision)
    return found if found is not None and found.request == request else None


def _outcome(decision: PermissionDecision) -> str:
    return "granted" if decision.granted else "pending" if decision.pending else "denied"


def _facts(decision: PermissionDecision, tainted: bool) -> dict[str, object]:
    named = ("request", "granted", "model", "action", "resource", "reason", "policies", "version", "grant", "question")
    return {name: getattr(decision, name) for name in named} | {"tainted": tainted}


def _key(request: str) -> str:
    return key("permissions", "decision", request)
