"""Questions to a human: what a model wants to do and why, until an operator answers or the time is over."""

from __future__ import annotations

import time
from typing import Any, Literal, cast

from pydantic import Field
from redis import Redis

from security.permissions.seals import enter, genuine
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.messages import Hash, Identity, Message, Millis, PermissionRequest, now_ms
from switchtower.queues import key

WIRE = "switchtower.permission.question"
ANSWER_WIRE = "switchtower.permission.answer"
INDEX = key("permissions", "questions")
ASKER = Role.GUARDRAIL
"""Who decides on permissions, and so whose questions an operator is shown."""
_SLICE_MS = 1000


class Question(Message):
    """A request that takes a human's yes; the policies permit it then, and not otherwise."""

    kind: Literal["permission_question"] = "permission_question"
    request: PermissionRequest
    resource: str = Field(min_length=1, max_length=4096, description="canonical; a yes is good for this alone")
    tainted: bool
    reason: str = Field(max_length=500, description="the policy's, not the model's")
    policies: tuple[str, ...] = ()
    version: Hash
    expires: Millis

    @property
    def over(self) -> bool:
        return self.expires <= now_ms()


class Answer(Message):
    """An operator's answer; `user` is the operator's key."""

    kind: Literal["permission_answer"] = "permission_answer"
    question: Identity
    asked: Millis = Field(description="when the question was made: an answer is good for that one asking")
    approved: bool
    grant: Identity | None = None
    reason: str = Field(default="", max_length=500)


class QuestionBook:
    """The questions in Redis, kept twice as long as they stand, so that an unanswered one is known to be denied."""

    def __init__(self, redis: Redis, ring: KeyRing) -> None:
        self._redis = redis
        self._ring = ring

    def ask(self, question: Question, signer: Signer) -> None:
        """Put a question before the operators; an older one of the same id, and its answer, are gone."""
        kept = 2 * question.expires - question.created
        sealed = signer.seal(question, WIRE, question.id, kept).model_dump_json()
        with self._redis.pipeline() as pipe:
            pipe.delete(_answer_key(question.id))
            pipe.set(_question_key(question.id), sealed, pxat=kept)
            for index in _indexes(question):
                enter(pipe, index, question.id, question.expires)
            pipe.execute()

    def find(self, identity: str) -> Question | None:
        """The question, answered or not, if it is genuine and remembered."""
        raw = self._redis.get(_question_key(identity))
        return genuine(raw, self._ring, WIRE, ASKER, Question, identity)

    def open(self) -> list[Question]:
        """The questions that wait for an answer, the next to expire first."""
        found = (self.find(identity) for identity in self._waiting(INDEX))
        return [question for question in found if question and not question.over and not self.answer(question)]

    def count(self, model: str) -> int:
        """How many questions of a model are open."""
        return len(self._waiting(f"{INDEX}:{model}"))

    def answer(self, question: Question) -> Answer | None:
        """The first genuine answer to a question, if there is one."""
        entries = cast("list[Any]", self._redis.xrange(_answer_key(question.id)))
        answers = (self._answer(question, fields) for _, fields in entries)
        return next((answer for answer in answers if answer), None)

    def wait(self, question: Question, seconds: float) -> Answer | None:
        """The answer, or None where there was none in that time or until the question was over."""
        end, mark = time.monotonic() + min(seconds, (question.expires - now_ms()) / 1000), "0"
        while True:
            left = end - time.monotonic()
            pause = max(1, min(_SLICE_MS, int(left * 1000)))
            streams: Any = self._redis.xread({_answer_key(question.id): mark}, block=pause)
            for mark, fields in streams[0][1] if streams else ():  # noqa: B007
                if answer := self._answer(question, fields):
                    return answer
            if left <= 0:
                return None

    def reply(self, pipe: Redis, question: Question, answer: Answer, operator: Signer) -> None:
        """Queue the commands that store an answer in the operator's name."""
        kept = 2 * question.expires - question.created
        sealed = operator.seal(answer, ANSWER_WIRE, answer.id, kept).model_dump_json()
        pipe.xadd(_answer_key(question.id), {"e": sealed})
        pipe.pexpireat(_answer_key(question.id), kept)
        for index in _indexes(question):
            pipe.zrem(index, question.id)

    def watch(self, pipe: Any, question: Question) -> None:
        """Let the transaction fail where somebody else answers meanwhile."""
        pipe.watch(_answer_key(question.id))

    def _answer(self, question: Question, fields: dict[str, str]) -> Answer | None:
        answer = genuine(fields.get("e"), self._ring, ANSWER_WIRE, Role.OPERATOR, Answer)
        if answer is None or (answer.question, answer.asked) != (question.id, question.created):
            return None
        return answer

    def _waiting(self, index: str) -> list[str]:
        return cast("list[str]", self._redis.zrangebyscore(index, f"({now_ms()}", "+inf"))


def _indexes(question: Question) -> tuple[str, str]:
    return INDEX, f"{INDEX}:{question.request.model}"


def _question_key(identity: str) -> str:
    return key("permissions", "question", identity)


def _answer_key(identity: str) -> str:
    return key("permissions", "answer", identity)
