"""The desk at which a controller takes requests to release, answers them and has them written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from redis import Redis

from security.audit.events import AuditEvent, put
from security.lockdown.memory import Memory, book_store
from security.lockdown.places import RELEASES, REQUESTS, answer_key, controller_folder
from security.lockdown.releases import Decision, Releases
from security.lockdown.request import ANSWER_S, LIFE_MS, Heads, Outcome, ReleaseVerdict
from switchtower.envelope import Signer
from switchtower.messages import new_identity, now_ms
from switchtower.queues import LOCKDOWN
from switchtower.settings import Settings

_AT_A_TIME = 50
_KEPT = 50
_NOBODY = "unknown"


class Desk:
    """Takes what waits, some at a time, so that a flood of requests cannot keep a lease from being renewed."""

    def __init__(self, redis: Redis, signer: Signer, settings: Settings, heads: Heads | None) -> None:
        self._redis = redis
        self._signer = signer
        self._releases = Releases(settings, book_store(controller_folder(settings)), heads)

    def take(self) -> list[str]:
        """The requests that wait."""
        waiting: Any = self._redis.lpop(REQUESTS, _AT_A_TIME)
        return waiting or []

    def decisions(self, waiting: list[str], memory: Callable[[], Memory]) -> Iterator[Decision]:
        """What becomes of each request, judged by what is known at its turn."""
        strangers: list[Decision] = []
        for raw in waiting:
            decision = self._releases.decide(raw, memory())
            if decision.operator:
                yield decision
            else:
                strangers.append(decision)
        self._turn_away(strangers)

    def answer(self, decision: Decision, done: bool, epoch: int) -> None:
        """Tell the one who asked, the audit and the status; `done` is false where the line could not be opened."""
        outcome: Outcome = decision.outcome if done else "stale_epoch"
        text = decision.text if done else "the lockdown was raised again meanwhile; look again"
        entry = {"at": now_ms(), "outcome": outcome, "operator": decision.operator, "text": text}
        self._redis.xadd(RELEASES, {"e": json.dumps(entry)}, maxlen=_KEPT, approximate=False)
        self._audit(outcome, decision.operator, epoch=epoch, request=decision.request and decision.request.id)
        self._tell(decision, outcome, text, epoch)

    def _turn_away(self, strangers: list[Decision]) -> None:
        """Answer those who are no operators; one entry in the audit for all of them, so that a flood is no flood."""
        for decision in strangers:
            self._tell(decision, decision.outcome, decision.text, 0)
        if strangers:
            errors = sorted({decision.text.split(":")[0] for decision in strangers})
            self._audit("not_admitted", _NOBODY, count=len(strangers), errors=tuple(errors))

    def _tell(self, decision: Decision, outcome: Outcome, text: str, epoch: int) -> None:
        if decision.envelope is None:
            return
        identity = decision.envelope.id
        verdict = ReleaseVerdict(
            job=new_identity(), request=identity, outcome=outcome, text=text[:1000], until=decision.until, epoch=epoch
        )
        sealed = self._signer.seal(verdict, LOCKDOWN, identity, now_ms() + LIFE_MS)
        with self._redis.pipeline() as pipe:
            pipe.rpush(answer_key(identity), sealed.model_dump_json())
            pipe.expire(answer_key(identity), ANSWER_S)
            pipe.execute()

    def _audit(self, outcome: str, actor: str, **facts: Any) -> None:
        event = AuditEvent(job=new_identity(), topic="release", outcome=outcome, actor=actor, facts=facts)
        put(self._redis, event, self._signer)
