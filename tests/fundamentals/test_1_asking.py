"""Asking: hand in a question, get an answer, watch it come.

A *job* is one question on its way through the line: screened, routed, generated, reviewed. In these
tests the model is an echo that says the prompt back; everything else is real.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from switchtower import Capability, Sampling, State, Turn, UserRequest
from switchtower.errors import IdempotencyConflict, JobNotFound, ResultTimeout


def test_ask_a_question_and_get_an_answer(line):
    """`submit` returns at once with the job's id; `result` waits for the answer."""
    job = line.client.submit("What is a switch tower?")
    answer = line.client.result(job, timeout=30)
    assert answer.text == "What is a switch tower?"
    assert answer.model == "echo"
    assert answer.finish_reason == "stop"


def test_say_more_than_the_prompt(line):
    """A `UserRequest` says who asks, what went before, and how to answer; what it leaves out has a default."""
    request = UserRequest(
        prompt="And in French?",
        history=(Turn(role="user", text="Say hello."), Turn(role="assistant", text="Hello.")),
        capability=Capability.GENERAL,
        sampling=Sampling(max_tokens=32, temperature=0.7),
        tenant="acme",
        user="ada",
    )
    job = line.client.submit(request)
    assert job == request.job
    assert line.client.result(job, timeout=30).tenant == "acme"


def test_the_answer_says_what_it_cost(line):
    """Every result bears its usage, and the guardrail's verdict on the text."""
    answer = line.client.result(line.client.submit("How much?"), timeout=30)
    assert answer.usage.completion_tokens == 3
    assert answer.usage.cost >= 0
    assert answer.verdict.passed


def test_stream_the_answer_as_it_is_written(line):
    """`stream` yields pieces of text; joined, they are what the model wrote."""
    job = line.client.submit("Sing!")
    pieces = list(line.client.stream(job, timeout=30))
    assert "".join(pieces) == "echo echo echo "
    assert len(pieces) > 1


def test_a_stream_can_be_read_again(line):
    """The stream is kept with the job: whoever comes late reads it from the beginning."""
    job = line.client.submit("Sing again!")
    first = list(line.client.stream(job, timeout=30))
    assert list(line.client.stream(job, timeout=30)) == first


def test_watch_the_events(line):
    """`events` tells everything that happens: each station twice, once queued and once running, and the end."""
    job = line.client.submit("Where are you now?")
    changes = [event.data for event in line.client.events(job, timeout=30) if event.state]
    stations = [(data["state"], data.get("station")) for data in changes]
    assert stations == [
        ("queued", "switchtower.screen"),
        ("running", "switchtower.screen"),
        ("queued", "switchtower.route"),
        ("running", "switchtower.route"),
        ("queued", "switchtower.generate.local"),
        ("running", "switchtower.generate.local"),
        ("queued", "switchtower.review"),
        ("running", "switchtower.review"),
        ("done", None),
    ]


def test_events_come_in_order_of_time(line):
    """Every event bears the time at which the broker wrote it, and a mark to go on reading from."""
    job = line.client.submit("Tick, tock")
    events = list(line.client.events(job, timeout=30))
    assert all(one.at <= two.at and one.mark != two.mark for one, two in pairwise(events))
    assert list(line.client.events(job, after=events[4].mark)) == events[5:]


def test_see_where_a_job_stands(line):
    """`status` is the job's line in the ledger: its state, its times, and which model was chosen, and why."""
    job = line.client.submit("Are we there yet?")
    line.client.result(job, timeout=30)
    record = line.client.status(job)
    assert record.state is State.DONE
    assert record.state.terminal
    assert record.created <= record.finished <= record.deadline
    assert record.route["model"] == "echo"
    assert "local_first" in record.route["reason"]


def test_nobody_knows_a_job_that_was_never_handed_in(line):
    """Asking for a job that does not exist is an error with a name."""
    with pytest.raises(JobNotFound, match="no job"):
        line.client.status("0190a000-0000-7000-8000-000000000000")


def test_submit_many(line):
    """`submit_many` sends in batches, keeps the order, and says how far it is."""
    heard = []
    prompts = [f"Question {number}" for number in range(12)]
    jobs = line.client.submit_many(prompts, heard.append, batch=5)
    assert heard == [5, 5, 2]
    assert [line.client.result(job, timeout=30).text for job in jobs] == prompts


def test_ask_once_with_an_idempotency_key(line):
    """Whoever is not sure whether a request arrived sends it again under the same key: it runs once."""
    first = line.client.submit("Order one pizza", idempotency_key="order-17")
    again = line.client.submit("Order one pizza", idempotency_key="order-17")
    assert again == first
    assert line.client.result(first, timeout=30).text == "Order one pizza"


def test_an_idempotency_key_stands_for_one_request(line):
    """The same key with another request is a mistake, and says so."""
    line.client.submit("Order two pizzas", idempotency_key="order-18")
    with pytest.raises(IdempotencyConflict, match="belongs to job"):
        line.client.submit("Order three pizzas", idempotency_key="order-18")


def test_tenants_do_not_share_idempotency_keys(line):
    """Two tenants may use the same key for different things."""
    one = line.client.submit(UserRequest(prompt="a", tenant="one"), idempotency_key="mine")
    two = line.client.submit(UserRequest(prompt="b", tenant="two"), idempotency_key="mine")
    assert one != two


def test_waiting_has_an_end_and_the_job_goes_on(line):
    """A time-out ends the waiting, not the job."""
    job = line.client.submit("Take your time")
    with pytest.raises(ResultTimeout, match="it goes on"):
        line.client.result(job, timeout=0)
    assert line.client.result(job, timeout=30).text == "Take your time"


def test_the_same_request_handed_in_twice_is_one_job(line):
    """A retry after a lost reply sends the same object again: nothing is asked twice, nothing is refused."""
    request = UserRequest(prompt="once only")
    assert line.client.submit(request) == line.client.submit(request)
    assert line.client.submit_many([request, request]) == [request.job, request.job]
    line.client.result(request.job, timeout=20)
    assert line.redis.hget("switchtower:refusals", "Replayed") is None
