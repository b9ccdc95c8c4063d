"""Lockdown on a running line: nothing starts, what runs stops within a token, nothing is lost, nothing runs twice."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from security.lockdown import engage, status
from switchtower import State
from switchtower.client import Client
from switchtower.envelope import Role
from switchtower.errors import GuardrailRefused, LockdownActive
from switchtower.jobs import DUE, FLAG, FLAG_CHANNEL, FLAG_EPOCH
from switchtower.lease import Lease
from switchtower.messages import new_identity, now_ms
from switchtower.overview import overview
from switchtower.queues import GPU, GUARDRAIL, LOCKDOWN, ROUTER, SCREEN
from tests.conftest import expect_no_leak
from tests.support.harness import ROOT, Harness, harness
from tests.support.post import alerts, states, unacked
from tests.support.wait import until

TOKENS = 100


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
    line.release("the test is over")


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
    until(lambda: log_lines(line, "back: consuming") == times_left(line), "the workers to consume")
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
        looked = calls("mget")
        until(lambda: calls("mget") > looked + 40, "the workers to look at the flag forty times more")

    forty_looks()  # until each worker has left its queue, its gate hands back what it still takes
    moved = calls("lpush", "rpush")
    forty_looks()
    assert calls("lpush", "rpush") == moved
    for job in jobs:
        line.client.cancel(job)


# -- what counts as locked ------------------------------------------------------------------------


def sealed_flag(line, role, epoch):
    """A lease that runs for three seconds, sealed by whoever wants to be the controller."""
    expires = now_ms() + 3000
    lease = Lease(job=new_identity(), epoch=epoch, expires=expires, since=now_ms(), by="me", reason="let me in")
    sealed = lease.model_copy(update={"id": lease.job})
    return line.signer(role).seal(sealed, LOCKDOWN, lease.job, expires).model_dump_json()


def current_epoch(line):
    return int(line.redis.get(FLAG_EPOCH))


def test_a_missing_flag_is_locked(line):
    expect_locked(line, lambda: line.redis.delete(FLAG))


@pytest.mark.parametrize("lose", [lambda redis: redis.delete(FLAG_EPOCH), lambda redis: redis.set(FLAG_EPOCH, 1)])
def test_an_epoch_that_is_missing_or_older_is_locked(line, lose):
    expect_locked(line, lambda: lose(line.redis))


@pytest.mark.parametrize(
    "raw", ["", "open", "{}", "null", '{"state": "open"}', '{"epoch": 99}', b"\xff\xfe", "[" * 6000, "x" * 20_000]
)
def test_an_unreadable_flag_is_locked(line, raw):
    expect_locked(line, lambda: line.redis.set(FLAG, raw))


def test_a_flag_of_another_type_is_locked(line):
    expect_locked(line, lambda: line.redis.delete(FLAG) and line.redis.lpush(FLAG, "open"))


@pytest.mark.parametrize("role", [Role.CLIENT, Role.GUARDRAIL, Role.GPU, Role.OPERATOR])
def test_a_lease_that_the_controller_did_not_seal_is_locked(line, role):
    expect_locked(line, lambda: line.redis.set(FLAG, sealed_flag(line, role, current_epoch(line))))


def test_an_old_lease_is_locked(line):
    """Whoever kept a lease from before cannot lift a lockdown with it, even while its time is not over."""
    kept, epoch = line.redis.get(FLAG), line.redis.get(FLAG_EPOCH)

    def put_back():
        engage(line.redis, "a drill", "test")
        line.redis.mset({FLAG: kept, FLAG_EPOCH: epoch})

    expect_locked(line, put_back)


def test_a_raise_that_is_only_pushed_is_locked(line):
    """A raise that somebody takes back within a moment was still one."""
    expect_locked(line, lambda: line.redis.publish(FLAG_CHANNEL, f"locked {current_epoch(line) + 1}"))


# -- raising and releasing ------------------------------------------------------------------------


def test_the_epoch_only_rises(line):
    epochs = [engage(line.redis, "one", "test"), engage(line.redis, "two", "test")]
    line.release()
    epochs.append(status(line.redis, line.ring).epoch)
    assert epochs == sorted(set(epochs))
    assert current_epoch(line) == epochs[-1]


@pytest.mark.parametrize("spoiled", ["", "abc", "nan", "-1", "1e300"])
def test_an_epoch_that_is_no_number_keeps_nobody_from_raising(line, spoiled):
    line.redis.set(FLAG_EPOCH, spoiled)
    engage(line.redis, "a drill", "test")
    assert status(line.redis, line.ring).locked


def test_the_status_says_who_and_why(line):
    engage(line.redis, "smoke in the engine room", "the stoker")
    found = status(line.redis, line.ring)
    assert (found.locked, found.reason, found.by) == (True, "smoke in the engine room", "the stoker")
    reopen(line)
    found = status(line.redis, line.ring)
    assert (found.locked, found.reason, found.by) == (
        False,
        "the test is over",
        status(line.redis, line.ring).releases[0].operator,
    )


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
    assert "".join(line.client.stream(job, timeout=5)) == "echo " * TOKENS


def test_handing_in_goes_on_and_the_job_waits(line):
    expect_locked(line, lambda: engage(line.redis, "a drill", "test"))


def test_the_overview_says_that_it_is_read_only(line):
    assert overview_of(line).startswith("open")
    engage(line.redis, "a drill", "the stoker")
    assert "read-only: locked down" in overview_of(line)
    assert "by the stoker: a drill" in overview_of(line)


def overview_of(line):
    console = Console(file=io.StringIO(), width=200)
    console.print(overview(line.client))
    return console.file.getvalue()


def in_place_of_the_guardrail(line, *command):
    """Let another worker read the guardrail's queue; without a command, the real one again."""
    line.supervisor.processes["guardrail"].terminate()
    line.supervisor.processes["guardrail"].wait(15)
    line.supervisor.start("guardrail", *command)


def test_what_waits_for_a_rate_limit_is_handed_back(line):
    in_place_of_the_guardrail(line, sys.executable, str(ROOT / "ops/bench/limited_worker.py"), "--rate=1/m")
    jobs = line.client.submit_many(["a", "b", "c", "d"])
    until(lambda: unacked(line, GUARDRAIL) and line.redis.llen(GUARDRAIL) < 3, "the worker to hold messages")
    engage(line.redis, "a drill", "test")
    handed_back(line, *jobs)
    assert line.redis.llen(GUARDRAIL) >= 3
    in_place_of_the_guardrail(line)
    reopen(line)
    assert [line.client.result(job, timeout=30).text for job in jobs] == ["a", "b", "c", "d"], line.logs()
    assert [states(line, job).count("done") for job in jobs] == [1, 1, 1, 1]


def test_handing_in_is_refused_where_the_settings_say_so(line):
    """The client says so at once, and nothing is left of the job; a batch and an awaited job are refused alike."""
    refusing = line.settings.lockdown.model_copy(update={"submissions": "refuse"})
    with Client(line.settings.model_copy(update={"lockdown": refusing})) as client:
        assert client.result(client.submit("Open?"), timeout=30).text == "Open?"
        engage(line.redis, "a drill", "the stoker")
        due = line.redis.zcard(DUE)
        for hand_in in (lambda: client.submit("No"), lambda: client.submit_many(["No", "no"])):
            with pytest.raises(LockdownActive, match="the stoker: a drill"):
                hand_in()
        assert line.redis.zcard(DUE) == due
