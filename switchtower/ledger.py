"""The job ledger: Celery is the transport, this is the truth.

One record per job (state, station, deliveries, lease of the worker that runs the step, the step's
sealed message), changed only by the Lua scripts beside this file, each of them atomic.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis import Redis

from switchtower import scripts
from switchtower.envelope import payload_hash
from switchtower.errors import IdempotencyConflict, JobCancelled, JobMoved, LockdownActive
from switchtower.jobs import (
    AUDIT,
    DEAD,
    DUE,
    FINISHED,
    FLAG,
    Event,
    Record,
    State,
    bell_key,
    children_key,
    events_key,
    job_key,
)
from switchtower.messages import Envelope, Message, now_ms
from switchtower.queues import key
from switchtower.settings import Line


@dataclass(frozen=True)
class Claim:
    """What the ledger said to a worker that asked for a step."""

    answer: str
    detail: str = ""
    avoid: str = ""
    """Names of models that had too little memory for this job, one blank between two."""

    @property
    def ok(self) -> bool:
        return self.answer == "ok"


class Accepted(NamedTuple):
    """A job that the ledger has, and whether this submission brought it: only then is there a message to publish."""

    job: str
    new: bool


@dataclass(frozen=True)
class Submission:
    """A request, its sealed envelope, and the key under which a second submission finds it."""

    request: Message
    envelope: Envelope
    idempotency: str | None = None

    @property
    def fingerprint(self) -> str:
        """What must be the same when the idempotency key is used again."""
        body = self.request.model_dump(mode="json", exclude={"id", "job", "created", "deadline", "trace"})
        return payload_hash(json.dumps(body, sort_keys=True))


def record_of(message: Message, envelope: Envelope, line: Line) -> dict[str, Any]:
    """The ledger fields of a job that enters the line."""
    return {
        "state": State.QUEUED,
        "station": envelope.wire,
        "nonce": envelope.nonce,
        "envelope": envelope.model_dump_json(),
        "lease": 0,
        "deliveries": 0,
        "handed": now_ms(),
        "created": message.created,
        "deadline": min(envelope.exp, message.deadline or envelope.exp, now_ms() + line.max_deadline_s * 1000),
        "tenant": message.tenant,
        "user": message.user,
        "parent": message.parent or "",
    }


def _flat(fields: dict[str, Any]) -> str:
    return json.dumps([str(part) for pair in fields.items() for part in pair])


def _event(kind: str, **data: Any) -> str:
    return json.dumps({"kind": kind, **data})


class Ledger:
    """The jobs of one broker."""

    def __init__(self, redis: Redis, line: Line) -> None:
        self.redis = redis
        self.line = line
        self._scripts = scripts.register(redis)

    def _run(self, name: str, keys: Sequence[str], args: Sequence[Any], client: Any = None) -> Any:
        return self._scripts[name](keys=keys, args=args, client=client)

    # -- by the client ------------------------------------------------------------------------

    def submit(self, submission: Submission, pipeline: Any = None) -> Accepted:
        """Write the record; the accepted job is the known one where the id or the idempotency key was used before.

        Raises `IdempotencyConflict`, and `JobCancelled` where the parent job has ended.
        """
        request, idempotency = submission.request, submission.idempotency
        # No tenant's name holds a bar, so that no tenant can name a key of another.
        known = key("idempotency", f"{request.tenant}|{idempotency}") if idempotency else ""
        parent = request.parent or ""
        keys = [job_key(request.job), events_key(request.job), DUE, known]
        keys += [job_key(parent), children_key(parent)] if parent else ["", ""]
        fields = record_of(request, submission.envelope, self.line)
        event = _event("state", state=State.QUEUED, station=submission.envelope.wire)
        look_again = now_ms() + int(self.line.grace_s * 1000)
        fingerprint = submission.fingerprint if idempotency else ""
        args = [request.job, _flat(fields), look_again, self._time_to_live(fields["deadline"])]
        args += [fingerprint, event, self.line.max_events]
        answer = self._run("submit", keys, args, pipeline)
        return self.submitted(answer) if pipeline is None else answer

    @staticmethod
    def submitted(answer: list[str]) -> Accepted:
        """What the submit script's answer means."""
        match answer:
            case ["new" | "known" as how, job]:
                return Accepted(job, how == "new")
            case ["conflict", job]:
                raise IdempotencyConflict(f"the idempotency key belongs to job {job}, whose request differs")
        raise JobCancelled(f"the parent job is {answer[1]}; it takes no more children")

    def _time_to_live(self, deadline: int) -> int:
        return max(1, (deadline - now_ms()) // 1000) + self.line.retention_s

    def record(self, job: str) -> Record:
        """The job's record; raises `JobNotFound`."""
        return Record.read(job, self.redis.hgetall(job_key(job)))

    def events(self, job: str, after: str = "0", block_ms: int | None = None) -> list[Event]:
        """The job's events after a mark, waiting up to `block_ms` for the first."""
        return Event.read_all(self.redis.xread({events_key(job): after}, block=block_ms))

    def wait(self, job: str, seconds: float) -> None:
        """Return when the job ends, or after so many seconds."""
        bell = bell_key(job)
        self.redis.blmove(bell, bell, timeout=seconds)  # type: ignore[arg-type]

    def cancel(self, job: str) -> list[str]:
        """Cancel the job and all its children; returns those that were not finished before."""
        self.record(job)
        cancelled, waiting = [], [job]
        while waiting:
            one = waiting.pop()
            if self.finish(one, State.CANCELLED, error=JobCancelled.__name__, message="cancelled by its owner"):
                cancelled.append(one)
            waiting += map(str, self.redis.smembers(children_key(one)))
        return cancelled

    # -- by the worker ------------------------------------------------------------------------

    def claim(
        self, envelope: Envelope, holder: str, flag: str, fresh: Message | None = None, canvas: str = ""
    ) -> Claim:
        """Ask for a step; `fresh` is the request of a job that may not be in the ledger yet."""
        job = envelope.job
        fields = record_of(fresh, envelope, self.line) if fresh else {}
        time_to_live = self._time_to_live(fields["deadline"]) if fresh else ""
        args = [flag, job, envelope.wire, envelope.nonce, holder, int(self.line.lease_s * 1000)]
        args += [self.line.max_deliveries, _flat(fields) if fresh else "", time_to_live]
        args += [_event("state", state=State.RUNNING, station=envelope.wire, by=holder), self.line.max_events, canvas]
        answer = self._run("claim", [FLAG, job_key(job), events_key(job), DUE], args)
        return Claim(answer[0], *map(str, answer[1:]))

    def expects(self, envelope: Envelope) -> bool:
        """Whether this very envelope is the one that the job's step waits for."""
        return bool(self.redis.hget(job_key(envelope.job), "nonce") == envelope.nonce)

    def emit(self, job: str, holder: str, flag: str, kind: str, **data: Any) -> None:
        """Publish progress; raises `LockdownActive` or `JobMoved` when the holder must stop."""
        args = [flag, holder, _event(kind, **data), self.line.max_events]
        match self._run("emit", [FLAG, job_key(job), events_key(job)], args):
            case ["halted"]:
                raise LockdownActive
            case ["moved", state]:
                raise JobMoved(f"the job is {state}")

    def advance(self, job: str, holder: str, following: Envelope, notes: Sequence[str] = (), **fields: Any) -> None:
        """Store a step's sealed outcome as the next one's message, with notes for the audit; raises `JobMoved`."""
        kept = {"station": following.wire, "nonce": following.nonce, "envelope": following.model_dump_json(), **fields}
        event = _event("state", state=State.QUEUED, station=following.wire, **fields)
        args = [job, holder, _flat(kept), int(self.line.grace_s * 1000), event, self.line.max_events]
        self._expect_ok(self._run("advance", [job_key(job), events_key(job), DUE, AUDIT], [*args, *notes]))

    def release(self, job: str, holder: str, reason: str, *, counts: bool = False) -> None:
        """Hand a step back unfinished; raises `JobMoved`. Where it `counts`, it may happen `max_deliveries` times."""
        event = _event("state", state=State.QUEUED, handed_back=reason)
        args = [job, holder, int(self.line.grace_s * 1000), event, self.line.max_events, int(counts)]
        self._expect_ok(self._run("release", [job_key(job), events_key(job), DUE], args))

    @staticmethod
    def _expect_ok(answer: list[str]) -> None:
        if answer[0] != "ok":
            raise JobMoved(f"the job is {answer[-1]}")

    def finish(
        self,
        job: str,
        state: State,
        holder: str = "",
        result: str = "",
        error: str = "",
        message: str = "",
        dead: bool = False,
        notes: Sequence[str] = (),
    ) -> bool:
        """End the job, with notes for the audit; returns whether this call was the one that ended it."""
        said = {"error": error, "message": message} if error else {}
        fields = {**said, **({"result": result} if result else {})}
        letter = _event("dead", job=job, **said) if dead else ""
        keys = [job_key(job), events_key(job), DUE, FINISHED, DEAD, children_key(job), bell_key(job), AUDIT]
        args = [job, holder, state, _flat(fields or {"error": ""}), self.line.retention_s]
        args += [_event("state", state=state, **said), self.line.max_events, letter, *notes]
        return bool(self._run("finish", keys, args)[0] == "ok")

    def renew(self, held: Iterable[tuple[str, str]]) -> list[str]:
        """Prolong the leases of (job, holder) pairs; returns the jobs that are the holder's no more."""
        pairs = list(held)
        keys = [DUE, *(job_key(job) for job, _ in pairs)]
        args = [int(self.line.lease_s * 1000), *(part for pair in pairs for part in pair)]
        return list(self._run("renew", keys, args)) if pairs else []

    # -- by upkeep ----------------------------------------------------------------------------

    def due(self, limit: int = 500) -> list[str]:
        """Jobs whose lease or grace ran out, oldest first."""
        return list(self.redis.zrange(DUE, "-inf", now_ms(), byscore=True, offset=0, num=limit))  # type: ignore[arg-type]

    def look_again(self, job: str, seconds: float) -> None:
        """Put a job off until the sweeper should look at it next."""
        self.redis.zadd(DUE, {job: now_ms() + int(seconds * 1000)}, xx=True)

    def handed_again(self, job: str) -> None:
        """Note that the step's message is being published again."""
        self.redis.hset(job_key(job), "handed", now_ms())
        self.look_again(job, self.line.grace_s)

    def forget(self, job: str) -> None:
        """Look at the job no more: its record is gone, or it has ended."""
        self.redis.zrem(DUE, job)

    def step(self, job: str) -> dict[str, str]:
        """The raw fields that the sweeper decides by; empty for a job that is gone."""
        names = ("state", "station", "lease", "handed", "deadline", "deliveries", "envelope", "canvas")
        values = self.redis.hmget(job_key(job), names)
        return {name: str(value) for name, value in zip(names, values, strict=True) if value is not None}
