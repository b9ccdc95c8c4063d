"""The light stations on the prefork pool: forked children obey the same gate, and their deaths lose nothing."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from security.lockdown import engage
from switchtower import State
from tests.conftest import expect_no_leak
from tests.support.harness import Harness, harness
from tests.support.wait import until
from workers.system import wait_ready

KINDS = ("guardrail", "router")


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory):
    """A line whose guardrail and router fork two children each, the guardrail with its model in all of them."""
    with harness(tmp_path_factory.mktemp("forked")) as made:
        for kind in KINDS:
            command = [sys.executable, "-m", "switchtower", "worker", kind, "--pool", "prefork", "--concurrency", "2"]
            made.supervisor.start(kind, *command, SWITCHTOWER_SECURITY__INJECTION="balanced")
        made.start("gpu", "upkeep")
        wait_ready(made.settings, made.supervisor, KINDS)
        yield made
        expect_no_leak(made)


def children(pid: int) -> list[int]:
    """The pool processes of a worker."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def dones(forked: Harness, job: str) -> int:
    return sum(event.state is State.DONE for event in forked.client.ledger.events(job))


def test_forked_stations_answer(forked):
    job = forked.client.submit("hello from a fork")
    assert forked.client.result(job, timeout=20).text == "hello from a fork"


def test_under_lockdown_no_child_starts_a_step_and_after_release_all_is_done_once(forked):
    jobs = forked.client.submit_many(f"forked {number}" for number in range(40))
    until(lambda: forked.client.status(jobs[0]).state is State.DONE, "the first answer")
    engage(forked.redis, "test", "test")
    locked_at = int(forked.redis.time()[0] * 1000 + forked.redis.time()[1] // 1000)
    until(lambda: not any(forked.client.status(job).state is State.RUNNING for job in jobs), "all steps handed back")
    late = [
        event
        for job in jobs
        for event in forked.client.ledger.events(job)
        if event.state is State.RUNNING and event.at > locked_at
    ]
    assert late == []
    forked.release()
    assert {forked.client.result(job, timeout=30).finish_reason for job in jobs} == {"stop"}
    assert {dones(forked, job) for job in jobs} == {1}


def test_a_killed_child_loses_no_job(forked):
    jobs = forked.client.submit_many(f"orphan {number}" for number in range(60))
    until(lambda: forked.client.status(jobs[0]).state is State.DONE, "the first answer")
    for kind in KINDS:
        os.kill(children(forked.supervisor.processes[kind].pid)[0], signal.SIGKILL)
    for job in jobs:
        forked.client.result(job, timeout=60)
    assert {dones(forked, job) for job in jobs} == {1}
