"""Crashes: whatever is killed and whenever, every job ends, and none is answered twice."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from redis.exceptions import ConnectionError as BrokerLost

from security.lockdown import engage
from switchtower import State, UserRequest
from switchtower.envelope import Role
from switchtower.errors import DeliveryCapExceeded
from switchtower.jobs import DEAD, FLAG
from switchtower.messages import Screened
from switchtower.models import Action, RiskLevel, Surface, Verdict
from switchtower.queues import GUARDRAIL, ROUTE, SCREEN, step_id
from tests.conftest import expect_no_leak
from tests.support.harness import LINE, Harness, harness
from tests.support.post import states
from tests.support.wait import until

PASSED = Verdict(action=Action.ALLOW, risk=RiskLevel.LOW, surface=Surface.INPUT, pack="none")
BATCH = 60
WORKERS_THAT_SAY_SO = 3  # the echo logs warnings only
QUICK = LINE.model_copy(update={"lease_s": 1, "grace_s": 0.5, "sweep_s": 0.1, "soft_shutdown_s": 1})


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A line with short leases, whose answers take a quarter of a second."""
    with harness(tmp_path_factory.mktemp("line"), QUICK) as made:
        made.start("guardrail", "router", "gpu", "upkeep", tokens=5, pause=0.02)
        yield made
        expect_no_leak(made)


def ended(line, jobs):
    """How many of the jobs have ended."""
    return sum(line.client.status(job).state.terminal for job in jobs)


def expect_each_once(line, jobs, prompts):
    """Every job is done, with its own answer, and was told so once."""
    answers = [line.client.result(job, timeout=60).text for job in jobs]
    assert answers == prompts, line.logs()
    assert [states(line, job).count("done") for job in jobs] == [1] * len(jobs)


# -- killed workers -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["guardrail", "router", "gpu", "upkeep"])
def test_a_worker_is_killed_in_the_middle_of_a_batch(line, kind):
    prompts = [f"{kind} {number}" for number in range(BATCH)]
    jobs = line.client.submit_many(prompts)
    until(lambda: ended(line, jobs) >= BATCH // 6, "some jobs to end")
    line.kill(kind)
    expect_each_once(line, jobs, prompts)


def test_a_worker_is_killed_again_and_again(line):
    prompts = [f"again {number}" for number in range(BATCH)]
    jobs = line.client.submit_many(prompts)
    for share in range(1, 4):
        until(lambda share=share: ended(line, jobs) >= share * BATCH // 6, "some jobs to end", seconds=60)
        line.kill("guardrail" if share % 2 else "gpu")
    expect_each_once(line, jobs, prompts)


# -- lost on the way ------------------------------------------------------------------------------


def test_handed_in_and_never_published(line):
    """The client died between the ledger and the queue."""
    submission = line.client._submission("Was I sent?")
    line.client.ledger.submit(submission)
    assert line.client.result(submission.request.job, timeout=20).text == "Was I sent?"


def test_taken_from_the_queue_and_never_booked(line):
    """The worker died between the transport's BRPOP and its note of what is not acknowledged."""
    line.supervisor.processes["guardrail"].send_signal(signal.SIGSTOP)  # so that nobody else takes it
    job = line.client.submit("Did I fall off?")
    until(lambda: line.redis.rpop(GUARDRAIL), "the message to be in the queue")
    line.supervisor.processes["guardrail"].send_signal(signal.SIGCONT)
    assert line.client.result(job, timeout=20).text == "Did I fall off?"
    assert states(line, job).count("done") == 1


def claim_as_a_ghost(line, envelope):
    """Take the step as a worker that nobody sees; again where the lease was renewed just between reading and taking."""
    until(lambda: line.client.ledger.claim(envelope, "ghost", line.redis.get(FLAG)).ok, "the claim")


def test_done_and_never_handed_on(line):
    """The worker died between the ledger's note of its outcome and the next station's message."""
    request = UserRequest(prompt="Hand me on")
    submission = line.client._submission(request)
    ledger = line.client.ledger
    ledger.submit(submission)
    claim_as_a_ghost(line, submission.envelope)
    outcome = Screened[UserRequest](subject=submission.request, verdict=PASSED, **submission.request.heirloom())
    following = line.signer(Role.GUARDRAIL).seal(outcome, ROUTE, step_id(request.job, ROUTE), submission.envelope.exp)
    ledger.advance(request.job, "ghost", following)
    assert line.client.result(request.job, timeout=20).text == "Hand me on"
    running = [event.data["station"] for event in ledger.events(request.job) if event.state is State.RUNNING]
    assert running.count(SCREEN) == 1


def test_claimed_by_a_worker_that_is_no_more(line):
    """Nobody renews the lease: it runs out, and the step is done by another."""
    submission = line.client._submission("Who has me?")
    line.client.ledger.submit(submission)
    claim_as_a_ghost(line, submission.envelope)
    assert line.client.result(submission.request.job, timeout=20).text == "Who has me?"
    assert not line.client.ledger.finish(submission.request.job, State.FAILED, "ghost")


def test_a_message_that_came_twice_runs_once(line):
    """The transport may deliver again what was acknowledged too late."""
    line.supervisor.processes["guardrail"].send_signal(signal.SIGSTOP)
    job = line.client.submit("Echo echo")
    raw = until(lambda: line.redis.lindex(GUARDRAIL, 0), "the message to be in the queue")
    line.redis.lpush(GUARDRAIL, raw)
    line.supervisor.processes["guardrail"].send_signal(signal.SIGCONT)
    assert line.client.result(job, timeout=20).text == "Echo echo"
    until(lambda: not line.redis.llen(GUARDRAIL), "the copy to be taken")
    assert states(line, job).count("done") == 1


# -- poison ---------------------------------------------------------------------------------------


def test_a_step_that_always_kills_its_worker_ends_as_a_dead_letter(tmp_path):
    """Each delivery ends in SIGKILL; after the cap the job fails by name and the line goes on."""
    with harness(tmp_path, QUICK.model_copy(update={"max_deliveries": 3})) as line:
        line.start("guardrail", "router", "gpu", "upkeep", tokens=2000, pause=0.05)
        job = line.client.submit("Poison")
        seen = 0
        while not ended(line, [job]):
            until(lambda: runs(line, job) > seen or ended(line, [job]), "the next delivery", seconds=30)  # noqa: B023
            seen = runs(line, job)
            line.kill("gpu")
        with pytest.raises(DeliveryCapExceeded):
            line.client.result(job, timeout=30)
        letters = [json.loads(fields["e"]) for _, fields in line.redis.xrange(DEAD)]
        assert [(one["job"], one["error"]) for one in letters] == [(job, "DeliveryCapExceeded")]
        # A worker that is too busy to read the flag in time halts and hands its step back; that does not count.
        handed_back = sum("handed_back" in event.data for event in line.client.ledger.events(job))
        assert runs(line, job) - handed_back == 3


def runs(line, job):
    """How often the job's generation has started."""
    return sum(event.begins_text for event in line.client.ledger.events(job))


# -- the broker -----------------------------------------------------------------------------------


def test_the_broker_is_killed_and_comes_back(tmp_path):
    """With every write on disk before it is answered, a SIGKILL of the broker loses and repeats nothing."""
    with harness(tmp_path, QUICK) as line:
        line.durable()
        line.start("guardrail", "router", "gpu", "upkeep", tokens=5, pause=0.02)
        prompts = [f"Question {number}" for number in range(BATCH)]
        jobs = line.client.submit_many(prompts)
        until(lambda: ended(line, jobs) >= BATCH // 6, "some jobs to end")
        line.watch()
        line.crash_broker()
        until(lambda: answers_again(line), "the broker to be back")
        expect_each_once(line, jobs, prompts)


def test_the_broker_is_killed_under_lockdown(tmp_path):
    """The workers come back to a locked line, wait, and take up their queues after the release."""
    with harness(tmp_path, QUICK) as line:
        line.durable()
        line.start("guardrail", "router", "gpu", "upkeep")
        engage(line.redis, "a drill", "test")
        job = line.client.submit("Through it all")
        line.crash_broker()
        until(lambda: answers_again(line), "the broker to be back")
        assert states(line, job) == ["queued"]
        until(lambda: line.said("Connected to redis") >= WORKERS_THAT_SAY_SO * 2, "the workers to be back")
        line.release("the drill is over")
        assert line.client.result(job, timeout=60).text == "Through it all", line.logs()


def answers_again(line):
    try:
        return line.redis.ping()
    except BrokerLost:
        return False
