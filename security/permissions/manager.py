"""The permission manager: one request in, one explained decision out, and a denial whenever it cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

from redis import Redis

from security.permissions.cases import Case
from security.permissions.decisions import Draft, keep
from security.permissions.denials import Denials
from security.permissions.engine import PolicyPack
from security.permissions.grants import GrantBook
from security.permissions.judgement import judge
from security.permissions.questions import ASKER, Question, QuestionBook
from security.permissions.resources import groups_of
from security.permissions.rulings import Ruling
from security.provenance import Provenance
from switchtower.envelope import KeyRing, Signer
from switchtower.errors import ConfigurationError, PathEscapes, PermissionRefused
from switchtower.messages import PermissionDecision, PermissionRequest, now_ms
from switchtower.models import ModelCard
from switchtower.settings import Settings

LOCKED = "the line is locked down"
TOO_MANY = "too many questions of this model are open"
UNANSWERED = "nobody answered the question in time"


class PermissionManager:
    """Decides what models may do; safe to share between threads.

    `cards` finds a model's card, `locked` says whether the line is locked down, and `raise_lockdown` locks it for
    the reason that it is given.
    """

    def __init__(
        self,
        redis: Redis,
        signer: Signer,
        ring: KeyRing,
        settings: Settings,
        *,
        cards: Callable[[str], ModelCard | None],
        locked: Callable[[], bool],
        raise_lockdown: Callable[[str], object],
    ) -> None:
        if signer.role is not ASKER:
            raise ConfigurationError(f"permissions are decided with the {ASKER} key, not with the {signer.role} key")
        self._redis = redis
        self._signer = signer
        self._settings = settings.permissions
        self._kept_ms = settings.line.retention_s * 1000
        self._cards = cards
        self._locked = locked
        self._grants = GrantBook(redis, ring)
        self._questions = QuestionBook(redis, ring)
        limits = settings.lockdown
        self._denials = Denials(redis, limits.denied_permissions, limits.window_s, raise_lockdown)
        self._reloading = Lock()
        self._policies = PolicyPack.load(self._settings.policies)

    @property
    def policies(self) -> PolicyPack:
        """The policies in force."""
        return self._policies

    def reload(self, paths: Iterable[Path] | None = None) -> PolicyPack:
        """Read the policies again and swap them in whole, or raise a PolicyError and keep the old ones."""
        with self._reloading:
            self._policies = PolicyPack.load(self._settings.policies if paths is None else paths)
        return self._policies

    def decide(self, request: PermissionRequest, provenance: Provenance | None = None) -> PermissionDecision:
        """Grant, deny, or ask a human; the decision is stored and audited before anybody can act on it.

        The request counts as tainted where it says so itself or where `provenance`, what the decider knows of the
        context, does. Decide once for each act: a grant that is good once is used up by the decision.
        """
        policies = self._policies  # read once: a reload in between must not mix two packs in one decision
        tainted = request.tainted or (provenance is not None and provenance.tainted)
        draft = Draft(request, tainted, policies.version)
        if self._locked():
            return self._said(draft, draft.denied(LOCKED))
        try:
            case = Case.of(request, tainted, lambda name: groups_of(self._cards(name)), now_ms())
        except (PathEscapes, PermissionRefused) as error:
            return self._refused(draft, draft.denied(str(error)))
        draft.resource = case.resource.uid.id
        return self._ruled(policies, case, draft)

    def wait(self, question: str, seconds: float) -> PermissionDecision:
        """Wait that long for a human's answer: the decision then, or one that is still pending.

        Raises `PermissionRefused` where no such question is remembered.
        """
        asked = self._questions.find(question)
        if asked is None:
            raise PermissionRefused("no such question is remembered; ask again")
        answer = self._questions.wait(asked, seconds)
        if answer is None and not asked.over:
            return Draft(asked.request, asked.tainted, asked.version, asked.resource).pending(asked)
        return self.decide(asked.request, Provenance(tainted=asked.tainted))

    def _ruled(self, policies: PolicyPack, case: Case, draft: Draft) -> PermissionDecision:
        found = judge(policies, case, self._grants.covering, lambda grant: self._grants.use(grant, draft.request.id))
        if found.answer == "denied":
            return self._refused(draft, draft.denied(found.ruling.reason, found.ruling))
        if found.answer == "asked":
            return self._asked(case, draft, found.ruling)
        if self._locked():  # raised while we looked
            return self._said(draft, draft.denied(LOCKED))
        until = case.now + int(self._settings.decision_s * 1000)
        expires = min(until, found.grant.expires) if found.grant else until
        return self._said(draft, draft.granted(found.ruling, expires, found.grant))

    def _asked(self, case: Case, draft: Draft, ruling: Ruling) -> PermissionDecision:
        asked = self._questions.find(case.question)
        answer = self._questions.answer(asked) if asked else None
        if asked and answer and not answer.approved:
            return self._refused(draft, draft.denied(f"a human denied it: {answer.reason or 'no reason given'}"))
        if asked and not answer and not asked.over:
            return draft.pending(asked)
        if asked and not answer and asked.request.id == draft.request.id:
            return self._said(draft, draft.denied(UNANSWERED))
        if self._questions.count(case.model) >= self._settings.max_questions:
            return self._refused(draft, draft.denied(TOO_MANY))
        question = self._question(case, draft, ruling)
        self._questions.ask(question, self._signer)
        return self._said(draft, draft.pending(question))

    def _question(self, case: Case, draft: Draft, ruling: Ruling) -> Question:
        return Question(
            **draft.request.heirloom(),
            id=case.question,
            request=draft.request,
            resource=draft.resource,
            tainted=draft.tainted,
            reason=ruling.policies[0].explanation,
            policies=ruling.ids,
            version=draft.version,
            expires=now_ms() + int(self._settings.approval_s * 1000),
        )

    def _refused(self, draft: Draft, decision: PermissionDecision) -> PermissionDecision:
        """A no that the model has brought about, and that counts."""
        self._said(draft, decision)
        self._denials.note(draft.request.model, draft.request.id)
        return decision

    def _said(self, draft: Draft, decision: PermissionDecision) -> PermissionDecision:
        keep(self._redis, decision, draft.tainted, self._signer, self._kept_ms)
        return decision
