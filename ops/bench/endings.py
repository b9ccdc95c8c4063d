"""How jobs ended, by the ledger and by every job's own events."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from switchtower.jobs import State, events_key, job_key

_STEPS = 4
_BATCH = 500


@dataclass
class Endings:
    """Counts of jobs; `lost` have not ended, `twice` ended more than once, `again` ran a step more than once."""

    lost: int = 0
    twice: int = 0
    again: int = 0
    states: Counter[str] = field(default_factory=Counter)

    @property
    def said(self) -> str:
        return ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()))

    def add(self, state: str | None, events: Sequence[dict[str, Any]]) -> None:
        """Count one job."""
        states = [event["state"] for event in events if event["kind"] == "state"]
        endings = [one for one in states if State(one).terminal]
        self.states[state or "unknown"] += 1
        self.lost += state is None or not State(state).terminal or not endings
        self.twice += len(endings) > 1
        self.again += states.count(State.RUNNING) > _STEPS


def count_endings(redis: Redis, jobs: Sequence[str]) -> Endings:
    """Ask the ledger and the events of all these jobs."""
    found = Endings()
    for start in range(0, len(jobs), _BATCH):
        with redis.pipeline(transaction=False) as pipe:
            for job in jobs[start : start + _BATCH]:
                pipe.hget(job_key(job), "state")
                pipe.xrange(events_key(job))
            answers = pipe.execute()
        for state, entries in zip(answers[::2], answers[1::2], strict=True):
            found.add(state, [json.loads(fields["e"]) for _, fields in entries])
    return found
