"""The operators' side: what waits for an answer, answering it, and the grants that stand."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.exceptions import WatchError

from security.audit.events import event, put
from security.permissions.decisions import find
from security.permissions.grants import Grant, GrantBook
from security.permissions.questions import Answer, Question, QuestionBook
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import PermissionRefused
from switchtower.messages import PermissionDecision, now_ms
from switchtower.settings import Permissions


class Desk:
    """What an operator sees and does about permissions; every act is sealed and audited in the operator's name."""

    def __init__(self, redis: Redis, ring: KeyRing, limits: Permissions) -> None:
        self._redis = redis
        self._questions = QuestionBook(redis, ring)
        self._grants = GrantBook(redis, ring)
        self._ring = ring
        self._limits = limits

    def pending(self) -> list[Question]:
        """The questions that wait for an answer, the next to expire first."""
        return self._questions.open()

    def grants(self) -> list[Grant]:
        """The grants that are still good, the next to expire first."""
        return self._grants.all()

    def question(self, identity: str) -> Question | None:
        """A question, answered or not, while it is remembered."""
        return self._questions.find(identity)

    def answer(self, question: Question) -> Answer | None:
        """What an operator said to it."""
        return self._questions.answer(question)

    def decision(self, request: str) -> PermissionDecision | None:
        """The last decision on a request, while it is remembered."""
        return find(self._redis, self._ring, request)

    def approve(
        self, operator: Signer, identity: str, seconds: float | None = None, *, once: bool = False, reason: str = ""
    ) -> Grant:
        """Say yes to a question; raises `PermissionRefused` where it is not open.

        The grant is for exactly what was asked. Where tainted context asked, it is good once and in that job only.
        """
        question = self._open(identity)
        request = question.request
        grant = Grant(
            job=question.job,
            tenant=question.tenant,
            user=_operator(operator),
            model=request.model,
            action=request.action,
            resource=question.resource,
            bound=question.job if question.tainted else None,
            expires=self._end(seconds),
            once=once or question.tainted,
            tainted=question.tainted,
            question=question.id,
            reason=reason,
        )
        self._reply(operator, question, approved=True, reason=reason, grant=grant)
        return grant

    def deny(self, operator: Signer, identity: str, reason: str = "") -> Question:
        """Say no to a question; raises `PermissionRefused` where it is not open."""
        question = self._open(identity)
        self._reply(operator, question, approved=False, reason=reason)
        return question

    def give(self, operator: Signer, grant: Grant) -> Grant:
        """Store a grant that nobody asked for: an operator's own wish, made outside of any context."""
        said = grant.model_copy(update={"user": _operator(operator), "question": None, "tainted": False})
        self._end((said.expires - now_ms()) / 1000)
        with self._redis.pipeline() as pipe:
            self._grants.store(pipe, said, operator)
            put(pipe, event("approval", "granted", operator.kid, said, _facts(said)), operator)
            pipe.execute()
        return said

    def revoke(self, operator: Signer, identity: str, reason: str = "") -> Grant:
        """End a grant; raises `PermissionRefused` where it is over already."""
        grant = self._grants.find(identity)
        if grant is None:
            raise PermissionRefused("no such grant; it is used up, revoked or over")
        with self._redis.pipeline() as pipe:
            self._grants.end(pipe, grant)
            facts = _facts(grant) | {"reason": reason}
            put(pipe, event("approval", "revoked", _operator(operator), grant, facts), operator)
            pipe.execute()
        return grant

    def _open(self, identity: str) -> Question:
        question = self._questions.find(identity)
        if question is None:
            raise PermissionRefused("no such question; it may be forgotten")
        if self._questions.answer(question):
            raise PermissionRefused("the question was answered already")
        if question.over:
            raise PermissionRefused("the question's time is over, and that was a no")
        return question

    def _reply(
        self, operator: Signer, question: Question, *, approved: bool, reason: str, grant: Grant | None = None
    ) -> None:
        answer = Answer(
            **question.heirloom() | {"user": _operator(operator)},
            question=question.id,
            asked=question.created,
            approved=approved,
            grant=grant.id if grant else None,
            reason=reason,
        )
        with self._redis.pipeline() as pipe:
            self._questions.watch(pipe, question)
            self._open(question.id)
            pipe.multi()
            self._questions.reply(pipe, question, answer, operator)
            if grant:
                self._grants.store(pipe, grant, operator)
            outcome = "approved" if approved else "denied"
            put(pipe, event("approval", outcome, operator.kid, answer, _said(question, answer, grant)), operator)
            try:
                pipe.execute()
            except WatchError:
                raise PermissionRefused("somebody else has just answered the question") from None

    def _end(self, seconds: float | None) -> int:
        """When a grant of that length ends, in milliseconds."""
        seconds = self._limits.grant_s if seconds is None else seconds
        if not 0 < seconds <= self._limits.max_grant_s:
            raise PermissionRefused(f"a grant is good for more than 0 s and at most {self._limits.max_grant_s:.0f} s")
        return now_ms() + int(seconds * 1000)


def _operator(signer: Signer) -> str:
    """The key id of an operator; raises `PermissionRefused` for any other role's key."""
    if signer.role is not Role.OPERATOR:
        raise PermissionRefused(f"only an operator may answer, and this is the {signer.role} key")
    return signer.kid


def _said(question: Question, answer: Answer, grant: Grant | None) -> dict[str, Any]:
    asked = {"question": question.id, "request": question.request.id, "model": question.request.model}
    what = {"action": question.request.action, "resource": question.resource, "tainted": question.tainted}
    return asked | what | {"reason": answer.reason} | (_facts(grant) if grant else {})


def _facts(grant: Grant) -> dict[str, Any]:
    named = ("model", "action", "resource", "beneath", "bound", "expires", "once", "tainted", "question", "reason")
    return {"grant": grant.id} | {name: getattr(grant, name) for name in named}
