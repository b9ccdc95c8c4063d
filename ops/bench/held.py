"""Messages that a worker holds back (prefetched, or for a rate limit) and what a lockdown makes of them."""

from __future__ import annotations

import base64
import json
import sys
import time
from dataclasses import dataclass

from rig import HERE, Rig, cpu_seconds, family, quiet_worker, wait_for

from security.lockdown import engage
from switchtower.client import Client
from switchtower.jobs import DUE
from switchtower.messages import UserRequest
from switchtower.queues import QUEUES, unacked_keys
from workers.supervisor import Supervisor

_RATE = "2/s"
_START_S, _SETTLE_S = 30, 5
_JOBS = 60
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
    """Fill the rate-limit buckets, lock, look, release."""
    idle = _busy(crew, _LOCKED_S)
    _replace_guardrail(crew, [sys.executable, str(HERE / "limited_worker.py"), f"--rate={_RATE}"])
    jobs = client.submit_many(UserRequest(prompt="hello") for _ in range(_JOBS))
    wait_for(lambda: _unacked(bench) > 0, _START_S)
    time.sleep(_SETTLE_S)
    held = _unacked(bench)
    engage(bench.redis, "bench", "bench")
    time.sleep(0.5)
    cpu = _busy(crew, _LOCKED_S)
    waiting = _waiting(bench)
    missing = sum(job not in waiting for job in bench.redis.zrange(DUE, 0, -1))
    found = Held(jobs, held, _unacked(bench), missing, cpu, idle)
    _replace_guardrail(crew, quiet_worker("guardrail"))
    bench.release()
    wait_for(lambda: bench.redis.zcard(DUE) == 0, 90)
    return found


def _replace_guardrail(crew: Supervisor, command: list[str]) -> None:
    """Let another worker read the guardrail's queue."""
    crew.processes["guardrail"].terminate()
    crew.processes["guardrail"].wait()
    crew.start("guardrail", *command)


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
