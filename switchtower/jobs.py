"""What a job is from outside: its states, its record, its events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from switchtower.errors import JobNotFound
from switchtower.queues import GENERATE, key


class State(StrEnum):
    """Where a job stands; the last five are terminal, and every job reaches exactly one of them."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Event:
    """One entry of a job's event stream: a change of state, a token, a note of a station."""

    kind: str
    at: int
    data: dict[str, Any]
    mark: str = ""

    @property
    def state(self) -> State | None:
        return State(self.data["state"]) if self.kind == "state" else None

    @property
    def begins_text(self) -> bool:
        """Whether a generation begins here, perhaps again: what was written before it is void."""
        return self.state is State.RUNNING and str(self.data.get("station", "")).startswith(GENERATE)

    @property
    def text(self) -> str:
        """The piece of text that a `token` event carries."""
        return str(self.data.get("text", ""))

    @classmethod
    def read_all(cls, streams: Any) -> list[Event]:
        """From the reply to one XREAD."""
        return [cls.read(mark, fields) for _, entries in streams for mark, fields in entries]

    @classmethod
    def read(cls, mark: str, fields: dict[str, str]) -> Event:
        """From a Redis stream entry; the time is the entry's own."""
        data = json.loads(fields["e"])
        return cls(data.pop("kind"), int(mark.split("-", maxsplit=1)[0]), data, mark)


@dataclass(frozen=True)
class Record:
    """A job's line in the ledger."""

    job: str
    state: State
    station: str
    deliveries: int
    created: int
    deadline: int
    tenant: str
    user: str
    parent: str | None = None
    finished: int | None = None
    error: str | None = None
    message: str | None = None
    result: str | None = None
    route: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, job: str, fields: Any) -> Record:
        if "state" not in fields:
            raise JobNotFound(f"no job {job}")
        optional = {name: fields.get(name) or None for name in ("parent", "error", "message", "result")}
        return cls(
            job=job,
            state=State(fields["state"]),
            station=fields["station"],
            deliveries=int(fields["deliveries"]),
            created=int(fields["created"]),
            deadline=int(fields["deadline"]),
            tenant=fields["tenant"],
            user=fields["user"],
            finished=int(fields["finished"]) if "finished" in fields else None,
            route=json.loads(fields.get("route", "{}")),
            **optional,
        )


FINISHED = key("finished")
DEAD = key("dead")
DUE = key("due")
REFUSALS = key("refusals")
ALERTS = key("alerts")
AUDIT = key("audit")
FLAG = key("lockdown")
FLAG_CHANNEL = key("lockdown", "push")
FLAG_EPOCH = key("lockdown", "epoch")


def job_key(job: str) -> str:
    return key("job", job)


def events_key(job: str) -> str:
    return key("job", job, "events")


def bell_key(job: str) -> str:
    """A list that gets its one entry when the job ends: who only waits for the end is woken once."""
    return key("job", job, "bell")


def children_key(job: str) -> str:
    return key("job", job, "children")
