"""Lockdown on a running line: nothing starts, what runs stops within a token, nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from security.lockdown import Flag, Opening, engage, release, status
from switchtower import State
from switchtower.envelope import Role
from switchtower.errors import GuardrailRefused, LockdownActive
from switchtower.jobs import FLAG, FLAG_EPOCH
from switchtower.messages import new_identity, now_ms
from switchtower.queues import GPU, GUARDRAIL, LOCKDOWN, ROUTER, SCREEN
from tests.conftest import expect_no_leak
from tests.support.harness import Harness, harness
from tests.support.post import MINUTE_MS, alerts, states, unacked
from tests.support.wait import until

TOKENS = 100
WORKERS = 4


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A line whose answers take a second, in 100 tokens."""
    with harness(tmp_path_factory.mktemp("line")) as made:
        made.start("guardrail", "router", "gpu", "upkeep", tokens=TOKENS, pause=0.01)
        yield made
        expect_no_leak(made)


@pytest.fixture(autouse=True)
def open_again(line):
    """Each test ends with an open line."""
    yield
    reopen(line)


def reopen(line):
    release(line.redis, line.signer(Role.OPERATOR), "the test is over")


def broker_ms(line):
    """The broker's own clock, which also stamps the events."""
    seconds, micros = line.redis.time()
    return seconds * 1000 + micros // 1000


def begun(line, job):
    """Until the job's first token is out."""
    until(lambda: any(event.kind == "token" for event in line.client.ledger.events(job)), "the first token")


def handed_back(line, *jobs):
    """Until no job runs, and no worker holds a message."""
    until(
        lambda: all(line.client.status(job).state is not State.RUNNING for job in jobs), "every step to be handed back"
    )
    until(lambda: not any(unacked(line, kind) for kind in (GUARDRAIL, ROUTER, GPU)), "every message to be handed back")


def times(line, jobs, kind):
    """When the jobs' events of a kind, or of a state, were written."""
    events = [event for job in jobs for event in line.client.ledger.events(job)]
    return [event.at for event in events if kind in (event.kind, event.state)]


def log_lines(line, words):
    """How often the guardrail worker has said something."""
    return (line.settings.home / "logs" / "guardrail.log").read_text().count(words)


def times_left(line):
    """How often the guardrail worker has left its queue."""
    return log_lines(line, "no longer consuming")


def expect_locked(line, lock):
    """Do something to the flag; expect that the line halts, and runs again only after the operator's release."""
    until(lambda: log_lines(line, "released: consuming") == times_left(line), "the workers to consume")
    seen = times_left(line)
    lock()
    until(lambda: times_left(line) > seen, "the workers to leave their queues")
    job = line.client.submit("Wait for it")
    at = broker_ms(line)
    reopen(line)
    until(lambda: "running" in states(line, job), "the job to start after the release")
    assert min(times(line, [job], "running")) >= at
    line.client.cancel(job)


# -- halting --------------------------------------------------------------------------------------


def test_nothing_starts_after_the_flag_is_written(line):
    jobs = line.client.submit_many([f"Question {number}" for number in range(20)])
    begun(line, jobs[0])
    engage(line.redis, "a drill", "test")
    at = broker_ms(line)
    handed_back(line, *jobs)
    assert [one for one in times(line, jobs, "running") if one > at] == []
    assert [one for one in times(line, jobs, "token") if one > at] == []
    for job in jobs:
        line.client.cancel(job)


def test_a_generation_stops_within_a_token_and_is_done_once_after_release(line):
    job = line.client.submit("Stop and go")
    begun(line, job)
    engage(line.redis, "a drill", "test")
    at = broker_ms(line)
    handed_back(line, job)
    events = line.client.ledger.events(job)
    assert events[-1].data["handed_back"] == "LockdownActive"
    assert [one for one in times(line, [job], "token") if one > at] == []
    assert len(times(line, [job], "token")) < TOKENS
    reopen(line)
    assert line.client.result(job, timeout=30).text == "Stop and go", line.logs()
    assert states(line, job).count("done") == 1


def test_what_was_handed_back_does_not_spin(line):
    """The messages lie in their queues while the line is locked; nobody takes and returns them over and over."""
    jobs = line.client.submit_many(["a", "b", "c"])
    begun(line, jobs[0])
    engage(line.redis, "a drill", "test")
    handed_back(line, *jobs)

    def calls(*commands):
        counted = line.redis.info("commandstats")
        return sum(counted.get(f"cmdstat_{command}", {}).get("calls", 0) for command in commands)

    def forty_looks():
        looked = calls("get")
        until(lambda: calls("get") > looked + 40, "the workers to look at the flag forty times more")

    forty_looks()  # until each worker has left its queue, its gate hands back what it still takes
    moved = calls("lpush", "rpush")
    forty_looks()
    assert calls("lpush", "rpush") == moved
    for job in jobs:
        line.client.cancel(job)


# -- what counts as locked ------------------------------------------------------------------------


def sealed_flag(line, role, epoch):
    identity = new_identity()
    opening = Opening(job=identity, epoch=epoch, reason="let me in")
    return line.signer(role).seal(opening, LOCKDOWN, identity, now_ms() + MINUTE_MS).model_dump_json()


def test_a_missing_flag_is_locked(line):
    expect_locked(line, lambda: line.redis.delete(FLAG))


@pytest.mark.parametrize("raw", ["", "open", "{}", "null", '{"state": "open"}', '{"epoch": 99}'])
def test_an_unreadable_flag_is_locked(line, raw):
    expect_locked(line, lambda: line.redis.set(FLAG, raw))


@pytest.mark.parametrize("role", [Role.CLIENT, Role.GUARDRAIL, Role.GPU])
def test_a_flag_that_the_operator_did_not_seal_is_locked(line, role):
    expect_locked(line, lambda: line.redis.set(FLAG, sealed_flag(line, role, epoch=10_000)))


def test_an_old_open_flag_is_locked(line):
    """Whoever kept an open flag from before cannot lift a lockdown with it."""
    kept = line.redis.get(FLAG)
    reopen(line)
    job = line.client.submit("Everybody has seen the newer flag")
    line.client.result(job, timeout=30)
    expect_locked(line, lambda: line.redis.set(FLAG, kept))


def test_an_expired_open_flag_is_locked(line):
    identity = new_identity()
    opening = Opening(job=identity, epoch=10_000)
    old = line.signer(Role.OPERATOR).seal(opening, LOCKDOWN, identity, now_ms() - 1)
    assert not Flag(line.ring).accept(old.model_dump_json())


def test_a_flag_sealed_for_something_else_is_locked(line):
    identity = new_identity()
    opening = Opening(job=identity, epoch=10_000)
    other = line.signer(Role.OPERATOR).seal(opening, SCREEN, identity, now_ms() + MINUTE_MS)
    assert not Flag(line.ring).accept(other.model_dump_json())


# -- raising and releasing ------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.OPERATOR, Role.CONTROLLER)])
def test_release_needs_the_operators_key(line, role):
    engage(line.redis, "a drill", "test")
    release(line.redis, line.signer(role), "let me in")
    assert status(line.redis, line.ring).locked


def test_a_release_does_not_lift_a_lockdown_that_was_raised_meanwhile(line):
    class Hesitant:
        """An operator who is overtaken between looking and releasing."""

        kid = "hesitant"

        def seal(self, *args):
            engage(line.redis, "meanwhile", "test")
            return line.signer(Role.OPERATOR).seal(*args)

    with pytest.raises(LockdownActive, match="meanwhile"):
        release(line.redis, Hesitant(), "all is well")
    assert status(line.redis, line.ring).locked


def test_the_epoch_only_rises(line):
    epochs = [engage(line.redis, "one", "test"), engage(line.redis, "two", "test")]
    epochs.append(release(line.redis, line.signer(Role.OPERATOR), "three"))
    assert epochs == sorted(set(epochs))
    assert int(line.redis.get(FLAG_EPOCH)) == epochs[-1]


def test_the_status_says_who_and_why(line):
    engage(line.redis, "smoke in the engine room", "the stoker")
    found = status(line.redis, line.ring)
    assert (found.locked, found.reason, found.by) == (True, "smoke in the engine room", "the stoker")
    reopen(line)
    found = status(line.redis, line.ring)
    assert (found.locked, found.reason, found.by) == (False, "the test is over", line.signer(Role.OPERATOR).kid)


def test_a_critical_finding_locks_the_line_and_refuses_the_job(line):
    job = line.client.submit("Run this for me: sudo rm -rf / --no-preserve-root")
    with pytest.raises(GuardrailRefused):
        line.client.result(job, timeout=30)
    found = status(line.redis, line.ring)
    assert found.locked
    assert found.by == SCREEN
    assert job in found.reason
    assert "preserve" not in found.reason
    alert = alerts(line)[-1]
    assert (alert["job"], alert["suggests_lockdown"]) == (job, True)
    assert "preserve" not in json.dumps(alert)


# -- meanwhile ------------------------------------------------------------------------------------


def test_reading_goes_on(line):
    job = line.client.submit("Read me later")
    line.client.result(job, timeout=30)
    engage(line.redis, "a drill", "test")
    assert line.client.status(job).state is State.DONE
    assert line.client.result(job, timeout=5).text == "Read me later"
    assert len(list(line.client.stream(job, timeout=5))) == TOKENS


def test_handing_in_goes_on_and_the_job_waits(line):
    expect_locked(line, lambda: engage(line.redis, "a drill", "test"))


def test_what_waits_for_its_time_is_handed_back(line):
    """A message with an ETA is held by its worker; under lockdown it goes back to the queue, and comes again."""
    submission = line.client._submission("Later")
    line.client.app.send_task(
        SCREEN, args=[submission.envelope.model_dump()], task_id=submission.envelope.id, countdown=2
    )
    until(lambda: unacked(line, GUARDRAIL), "the worker to hold the message")
    engage(line.redis, "a drill", "test")
    until(lambda: line.redis.llen(GUARDRAIL) == 1 and not unacked(line, GUARDRAIL), "the message to be handed back")
    reopen(line)
    until(lambda: line.redis.exists(f"switchtower:job:{submission.request.job}"), "the job to start")
    assert line.client.result(submission.request.job, timeout=30).text == "Later"
    assert states(line, submission.request.job).count("done") == 1


def test_what_waits_for_a_rate_limit_is_handed_back(line):
    control = line.client.app.control
    assert control.rate_limit(SCREEN, "1/m", reply=True, timeout=5, limit=WORKERS)
    jobs = line.client.submit_many(["a", "b", "c", "d"])
    until(lambda: unacked(line, GUARDRAIL) and line.redis.llen(GUARDRAIL) < 3, "the worker to hold messages")
    engage(line.redis, "a drill", "test")
    handed_back(line, *jobs)
    assert line.redis.llen(GUARDRAIL) >= 3
    assert control.rate_limit(SCREEN, "0", reply=True, timeout=5, limit=WORKERS)
    reopen(line)
    assert [line.client.result(job, timeout=30).text for job in jobs] == ["a", "b", "c", "d"], line.logs()
    assert [states(line, job).count("done") for job in jobs] == [1, 1, 1, 1]
