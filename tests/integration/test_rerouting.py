"""A model with too little memory for a job gives it back to the router, which finds another one or says so."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from security.acl.server import denials
from switchtower import State, UserRequest
from switchtower.envelope import Role
from switchtower.errors import JobMoved, ModelOutOfMemory, NoCapableModel
from switchtower.jobs import DEAD
from switchtower.models import Capability, ModelCard, Provider
from switchtower.queues import GENERATE_LOCAL, ROUTE
from tasks.station import StationTask
from tests.conftest import expect_no_leak
from tests.support.cramped_worker import CRAMPED, ROOMY
from tests.support.guarded import guarded
from tests.support.harness import Harness, harness
from tests.support.post import push_envelope, refusals, sealed, settled, states, wait_refused
from tests.support.steps import Steps
from tests.support.wait import until

LEAST = 20
SHORT, LONG = "Short.", "A question of more than twenty letters."
WORKER = (sys.executable, "-m", "tests.support.cramped_worker")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A line whose cheaper model has too little memory for long prompts."""
    with harness(tmp_path_factory.mktemp("cramped")) as made:
        made.supervisor.start("gpu", *WORKER, f"--least={LEAST}")
        made.start("guardrail", "router", "upkeep")
        yield made
        expect_no_leak(made)


@pytest.fixture
def steps(quick_broker):
    return Steps(quick_broker)


# -- the ledger -----------------------------------------------------------------------------------


def test_a_job_that_was_never_routed_again_avoids_nothing(steps):
    assert steps.claim(steps.submit()).avoid == ""


def test_who_claims_a_job_learns_what_it_avoids(steps):
    """Also after the step was handed back, and at every step that follows."""
    job = steps.running().job
    proof = steps.envelope(job, ROUTE)
    steps.ledger.advance(job, "me", proof, avoid="big small")
    claim = steps.claim(proof)
    assert (claim.ok, claim.avoid) == (True, "big small")
    steps.ledger.release(job, "me", "no reason")
    assert steps.claim(proof).avoid == "big small"
    following = steps.envelope(job, GENERATE_LOCAL)
    steps.ledger.advance(job, "me", following)
    assert steps.claim(following).avoid == "big small"


def test_only_the_holder_sends_a_job_back(steps):
    job = steps.running().job
    with pytest.raises(JobMoved):
        steps.ledger.advance(job, "stranger", steps.envelope(job, ROUTE), avoid="big")
    assert "avoid" not in steps.redis.hgetall(f"switchtower:job:{job}")


# -- the line -------------------------------------------------------------------------------------


def stations(line, job):
    """Where the job has run, in order."""
    events = line.client.ledger.events(job)
    return [event.data["station"].rpartition(".")[2] for event in events if event.state is State.RUNNING]


def test_another_model_answers(line):
    job = line.client.submit(LONG)
    result = line.client.result(job, timeout=30)
    assert (result.model, result.text) == (ROOMY, LONG)
    assert stations(line, job) == ["screen", "route", "local", "route", "local", "review"]
    assert states(line, job).count("done") == 1
    routed = [json.loads(event.data["route"]) for event in line.client.ledger.events(job) if "route" in event.data]
    assert [one["model"] for one in routed] == [CRAMPED, ROOMY]


def test_what_was_streamed_before_is_void(line):
    """The first model had said something; only the second one's words are the answer."""
    job = line.client.submit(LONG)
    assert line.client.result(job, timeout=30).text == LONG
    text = ""
    for event in line.client.ledger.events(job):
        text = "" if event.begins_text else text + event.text
    assert text == f"Well, {LONG}"


def test_only_the_job_that_is_too_large_avoids_the_model(line):
    jobs = line.client.submit_many([SHORT, LONG] * 10)
    answers = [line.client.result(job, timeout=60) for job in jobs]
    assert [answer.model for answer in answers] == [CRAMPED, ROOMY] * 10
    assert [states(line, job).count("done") for job in jobs] == [1] * len(jobs)
    until(lambda: settled(line, "gpu") and settled(line, "router"), "every message to be acknowledged")


def test_a_chain_of_celery_goes_on_after_it(line):
    """Whoever waits by Celery's own means gets the answer of the second model."""
    signature = line.client.signature(UserRequest(prompt=LONG))
    sealed = signature.apply_async().get(timeout=30)
    assert json.loads(sealed["payload"])["model"] == ROOMY


def test_a_model_that_was_asked_for_by_name_is_not_replaced(line):
    job = line.client.submit(UserRequest(prompt=LONG, model=CRAMPED))
    with pytest.raises(NoCapableModel, match=f"too little memory for this request: {CRAMPED}"):
        line.client.result(job, timeout=30)
    assert stations(line, job) == ["screen", "route", "local", "route"]


def test_nobody_else_can_answer(tmp_path):
    """Twenty jobs fail by name, each once, and the worker goes on."""
    with harness(tmp_path) as line:
        line.supervisor.start("gpu", *WORKER, "--alone", f"--least={LEAST}")
        line.start("guardrail", "router", "upkeep")
        jobs = line.client.submit_many([LONG] * 20)
        for job in jobs:
            with pytest.raises(NoCapableModel, match="ask for fewer tokens"):
                line.client.result(job, timeout=30)
        ends = Counter(tuple(state for state in states(line, job) if State(state).terminal) for job in jobs)
        assert ends == {("failed",): len(jobs)}
        letters = [json.loads(fields["e"])["job"] for _, fields in line.redis.xrange(DEAD)]
        assert sorted(letters) == sorted(jobs)
        assert line.client.result(line.client.submit(SHORT), timeout=30).model == CRAMPED
        assert line.supervisor.processes["gpu"].poll() is None
        expect_no_leak(line)


def test_a_user_for_each_role_has_the_rights_for_it(tmp_path):
    """The gpu worker hands the job back to the router as its own user; nothing that anybody does is denied."""
    with guarded(tmp_path) as line:
        command = (*WORKER, f"--least={LEAST}")
        line.admin.supervisor.start("gpu", *command, SWITCHTOWER_BROKER__URL=line.urls["gpu"])
        line.start("guardrail", "router", "upkeep")
        client = line.client()
        assert client.result(client.submit(LONG), timeout=30).model == ROOMY
        assert [one for one in denials(line.admin.redis) if one.reason != "auth"] == []


# -- never a loop ---------------------------------------------------------------------------------


def test_a_router_that_does_not_listen_ends_the_job():
    """It would choose the avoided model again and again; the second time is an error."""
    card = ModelCard(name="big", provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))
    work = SimpleNamespace(message=SimpleNamespace(card=card, screened=None), avoid=frozenset({"big"}), job="1")
    with pytest.raises(NoCapableModel, match="chosen again"):
        StationTask._route_again(SimpleNamespace(), work, ModelOutOfMemory())


def test_the_gpu_workers_word_is_not_enough_for_the_router(line):
    """What comes back to the router is the guardrail's own seal; a gpu worker's is refused there."""
    before = refusals(line)
    push_envelope(line, ROUTE, sealed(line, UserRequest(prompt=LONG), ROUTE, Role.GPU))
    wait_refused(line, before, "WrongRole", "router")
