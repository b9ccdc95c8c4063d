"""From a job's record to its result or its error, and from its events to text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchtower import errors
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import (
    ForgedEnvelope,
    JobCancelled,
    JobExpired,
    JobFailed,
    MalformedEnvelope,
    NoCapableModel,
    Retargeted,
    StreamDiverged,
    SwitchtowerError,
    UnknownKey,
    WrongIdentity,
    WrongRole,
)
from switchtower.jobs import Event, Record, State
from switchtower.messages import JobResult, new_identity, now_ms
from switchtower.models import Action, RiskLevel, Surface, Verdict
from switchtower.outcome import TextCursor, outcome
from switchtower.queues import RESULT, REVIEW, ROUTE, step_id

GUARDRAIL, GPU = Signer.create(Role.GUARDRAIL), Signer.create(Role.GPU)
RING = KeyRing.of(GUARDRAIL, GPU)
JOB = new_identity()
PASSED = Verdict(action=Action.ALLOW, risk=RiskLevel.LOW, surface=Surface.OUTPUT, pack="none")
RESULT_OF = JobResult(job=JOB, text="42", model="echo", finish_reason="stop", verdict=PASSED)


def record(state, **fields):
    return Record(JOB, state, REVIEW, 1, now_ms(), now_ms() + 1000, "default", "anonymous", **fields)


def delivered(signer=GUARDRAIL, job=JOB, wire=RESULT):
    result = RESULT_OF.model_copy(update={"job": job})
    sealed = signer.seal(result, wire, step_id(job, wire), now_ms() + 1000)
    return record(State.DONE, result=sealed.model_dump_json())


def test_a_result_with_the_guardrails_seal_is_good():
    assert outcome(delivered(), RING, 10_000).text == "42"


def test_a_result_is_good_also_after_its_envelopes_time():
    sealed = GUARDRAIL.seal(RESULT_OF, RESULT, step_id(JOB, RESULT), now_ms() - 1)
    assert outcome(record(State.DONE, result=sealed.model_dump_json()), RING, 10_000).text == "42"


def test_a_result_with_another_seal_is_not():
    with pytest.raises(WrongRole):
        outcome(delivered(GPU), RING, 10_000)
    with pytest.raises(UnknownKey):
        outcome(delivered(Signer.create(Role.GUARDRAIL)), RING, 10_000)
    with pytest.raises(ForgedEnvelope):
        outcome(delivered(Signer.create(Role.GUARDRAIL, GUARDRAIL.kid)), RING, 10_000)


def test_a_result_of_another_job_is_not():
    with pytest.raises(WrongIdentity):
        outcome(delivered(job=new_identity()), RING, 10_000)


def test_a_guardrails_seal_on_something_else_than_a_result_is_not():
    with pytest.raises(Retargeted):
        outcome(delivered(wire=ROUTE), RING, 10_000)


def test_a_result_that_is_missing_is_not():
    with pytest.raises(MalformedEnvelope):
        outcome(record(State.DONE), RING, 10_000)


@pytest.mark.parametrize(
    ("state", "error", "raised"),
    [
        (State.REFUSED, "GuardrailRefused", errors.GuardrailRefused),
        (State.EXPIRED, "JobExpired", JobExpired),
        (State.CANCELLED, "JobCancelled", JobCancelled),
        (State.FAILED, "NoCapableModel", NoCapableModel),
        (State.FAILED, "DeliveryCapExceeded", errors.DeliveryCapExceeded),
        (State.FAILED, None, JobFailed),
        (State.FAILED, "NoSuchError", JobFailed),
        (State.FAILED, "annotations", JobFailed),
        (State.FAILED, "JobExpired", JobFailed),
        (State.CANCELLED, "NoCapableModel", JobCancelled),
    ],
)
def test_each_ending_raises_its_error(state, error, raised):
    with pytest.raises(SwitchtowerError, match="because") as ended:
        outcome(record(state, error=error, message="because"), RING, 10_000)
    assert type(ended.value) is raised


def test_an_ending_without_a_message_speaks_for_itself():
    with pytest.raises(JobExpired, match="deadline"):
        outcome(record(State.EXPIRED), RING, 10_000)


# -- the text of a stream -------------------------------------------------------------------------


def token(text):
    return Event("token", 1, {"text": text})


RESTART = Event("state", 1, {"state": "running", "station": "switchtower.generate.local"})
NOTE = Event("state", 1, {"state": "running", "station": "switchtower.review"})


def read(events):
    cursor = TextCursor()
    return "".join(cursor.feed(event) for event in events)


pieces = st.lists(st.text(max_size=5), max_size=12)


@given(pieces)
def test_tokens_are_text(said):
    assert read([RESTART, *map(token, said)]) == "".join(said)


@given(pieces, st.data())
def test_a_restart_repeats_nothing(said, data):
    broken = data.draw(st.integers(0, len(said)))
    events = [RESTART, *map(token, said[:broken]), NOTE, RESTART, *map(token, said)]
    assert read(events) == "".join(said)


@given(st.text(max_size=30), st.integers(0, 30), st.integers(1, 7), st.integers(1, 7))
def test_a_restart_may_cut_the_same_text_into_other_pieces(text, broken, first, second):
    def cut(said, size):
        return [token(said[at : at + size]) for at in range(0, len(said), size)]

    assert read([RESTART, *cut(text[:broken], first), RESTART, *cut(text, second)]) == text


def test_a_restart_that_says_something_else_is_an_error():
    with pytest.raises(StreamDiverged):
        read([RESTART, token("I say "), token("yes"), RESTART, token("I say "), token("no")])


def test_the_divergence_is_seen_at_the_first_wrong_letter():
    cursor = TextCursor()
    for event in (token("yes, of course"), RESTART):
        cursor.feed(event)
    with pytest.raises(StreamDiverged):
        cursor.feed(token("n"))


def test_events_without_text_say_nothing():
    assert read([NOTE, RESTART, NOTE]) == ""
