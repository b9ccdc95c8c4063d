"""Messages that a worker holds back (prefetched, for a rate limit, for an ETA) and what a lockdown makes of them."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass

from rig import Rig, cpu_seconds, family, wait_for

from security.lockdown import engage, release
from switchtower.client import Client
from switchtower.envelope import Role, Signer
from switchtower.jobs import DUE
from switchtower.messages import UserRequest
from switchtower.queues import QUEUES, SCREEN, unacked_keys
from workers.supervisor import Supervisor

_JOBS = 60
_LATER = 8
_LATER_S = 12
_LOCKED_S = 3


@dataclass(frozen=True)
class Held:
    """What a lock of three seconds found, and left."""

    jobs: list[str]
    held_before: int
    unacked: int
    missing: int
    cpu_percent: dict[str, float]
    idle_percent: dict[str, float]


def hold_and_lock(bench: Rig, crew: Supervisor, client: Client) -> Held:
    """Fill the rate-limit buckets and the ETA timers, lock, look, release."""
    idle = _busy(crew, _LOCKED_S)
    client.app.control.rate_limit(SCREEN, "2/s")
    time.sleep(0.3)
    jobs = [_later(client) for _ in range(_LATER)]
    time.sleep(0.5)
    jobs += client.submit_many(UserRequest(prompt="hello") for _ in range(_JOBS))
    time.sleep(2)
    held = _unacked(bench)
    engage(bench.redis, "bench", "bench")
    time.sleep(0.5)
    cpu = _busy(crew, _LOCKED_S)
    waiting = _waiting(bench)
    missing = sum(job not in waiting for job in bench.redis.zrange(DUE, 0, -1))
    found = Held(jobs, held, _unacked(bench), missing, cpu, idle)
    client.app.control.rate_limit(SCREEN, 0)
    operator = Signer.load(bench.settings.security.keys_directory, Role.OPERATOR)
    release(bench.redis, operator, "bench")
    wait_for(lambda: bench.redis.zcard(DUE) == 0, 90)
    return found


def _later(client: Client) -> str:
    """A job whose first message bears an ETA, as any Celery producer may send it."""
    submission = client._submission("hello, later")
    client.ledger.submit(submission)
    sealed = submission.envelope
    client.app.send_task(SCREEN, args=[sealed.model_dump()], task_id=sealed.id, countdown=_LATER_S, ignore_result=True)
    return submission.request.job


def _busy(crew: Supervisor, seconds: float) -> dict[str, float]:
    """How much of a CPU each worker uses over a while, its children included."""
    before = {name: cpu_seconds(*family(process.pid)) for name, process in crew.processes.items()}
    time.sleep(seconds)
    after = {name: cpu_seconds(*family(process.pid)) for name, process in crew.processes.items()}
    return {name: 100 * (after[name] - before[name]) / seconds for name in before}


def _unacked(bench: Rig) -> int:
    return sum(int(bench.redis.hlen(unacked_keys(kind)["unacked_key"])) for kind in QUEUES)


def _waiting(bench: Rig) -> set[str]:
    """The jobs that have a message in a queue."""
    raw = (message for queue in QUEUES for message in bench.redis.lrange(queue, 0, -1))
    return {json.loads(base64.b64decode(json.loads(message)["body"]))[0][0]["job"] for message in raw}
