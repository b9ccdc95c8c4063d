"""The ledger's rules, one by one, on a broker without workers."""

from __future__ import annotations

import pytest

from security.lockdown import engage
from switchtower import State
from switchtower.errors import IdempotencyConflict, JobCancelled, JobMoved, JobNotFound, LockdownActive
from switchtower.jobs import DEAD, DUE, FINISHED, FLAG, children_key, events_key, job_key
from switchtower.messages import UserRequest, new_identity, now_ms
from switchtower.queues import REVIEW, ROUTE, SCREEN
from switchtower.settings import Line
from tests.support.steps import Steps
from tests.support.wait import until

TINY = Line(lease_s=0.05, grace_s=0.05, max_deliveries=2, retention_s=60)


@pytest.fixture
def steps(quick_broker):
    return Steps(quick_broker)


@pytest.fixture
def tiny(quick_broker):
    """The same with leases of 50 ms and two deliveries."""
    return Steps(quick_broker, TINY)


def states(steps, job):
    return [str(event.state) for event in steps.ledger.events(job) if event.state]


# -- submit ---------------------------------------------------------------------------------------


def test_a_submitted_job_is_queued_for_the_first_station(steps):
    job = steps.submit(tenant="acme", user="ada").job
    record = steps.ledger.record(job)
    assert (record.state, record.station, record.deliveries) == (State.QUEUED, SCREEN, 0)
    assert (record.tenant, record.user, record.parent, record.finished) == ("acme", "ada", None, None)
    assert states(steps, job) == ["queued"]


def test_submitting_a_job_twice_is_submitting_it_once(steps):
    submission = steps.submission()
    assert steps.ledger.submit(submission) == (submission.request.job, True)
    assert steps.ledger.submit(submission) == (submission.request.job, False)
    assert states(steps, submission.request.job) == ["queued"]


def test_an_idempotency_key_finds_the_first_job(steps):
    first = steps.ledger.submit(steps.submission("key")).job
    second = steps.submission("key")
    assert steps.ledger.submit(second) == (first, False)
    with pytest.raises(JobNotFound):
        steps.ledger.record(second.request.job)


@pytest.mark.parametrize(
    "other", [{"prompt": "other"}, {"user": "other"}, {"privacy": "high"}, {"sampling": {"seed": 1}}]
)
def test_an_idempotency_key_stands_for_one_request(steps, other):
    first = steps.ledger.submit(steps.submission("key")).job
    with pytest.raises(IdempotencyConflict, match=first):
        steps.ledger.submit(steps.submission("key", **other))


def test_an_idempotency_key_is_forgotten_with_its_job(steps):
    job = steps.ledger.submit(steps.submission("key")).job
    lives = [steps.redis.ttl(key) for key in ("switchtower:idempotency:default|key", job_key(job))]
    assert abs(lives[0] - lives[1]) <= 1
    assert lives[0] > 0


@pytest.mark.parametrize("tenant", ["a:b", "a"])
def test_no_tenant_can_name_a_key_of_another(steps, tenant):
    one = steps.ledger.submit(steps.submission("b:c", tenant="a", prompt="one"))
    two = steps.ledger.submit(steps.submission("c", tenant=tenant, prompt="two"))
    assert one != two


def test_a_job_that_is_unknown(steps):
    with pytest.raises(JobNotFound):
        steps.ledger.record(new_identity())
    assert steps.ledger.step(new_identity()) == {}


# -- claim: the gate ------------------------------------------------------------------------------


def test_a_claimed_step_runs(steps):
    envelope = steps.submit()
    claim = steps.claim(envelope)
    assert (claim.answer, claim.detail) == ("ok", "1")
    assert steps.ledger.record(envelope.job).state is State.RUNNING


@pytest.mark.parametrize("flag", ["", "open", '{"epoch": 1}'])
def test_whoever_has_not_verified_the_flag_is_halted(steps, flag):
    envelope = steps.submit()
    assert steps.claim(envelope, flag=flag).answer == "halted"
    assert steps.ledger.record(envelope.job).state is State.QUEUED


def test_a_missing_flag_halts(steps):
    envelope, known = steps.submit(), steps.flag
    steps.redis.delete("switchtower:lockdown")
    assert steps.claim(envelope, flag=known).answer == "halted"
    assert steps.claim(envelope, flag="").answer == "halted"


def test_a_raised_flag_halts(steps):
    envelope, known = steps.submit(), steps.flag
    engage(steps.redis, "a drill", "me")
    assert steps.claim(envelope, flag=known).answer == "halted"


@pytest.mark.parametrize("spoil", [lambda redis: redis.lpush(FLAG, "x"), lambda redis: redis.set(FLAG, b"\xff")])
def test_a_flag_that_is_no_text_halts(steps, spoil):
    envelope, known = steps.submit(), steps.flag
    steps.redis.delete(FLAG)
    spoil(steps.redis)
    assert steps.claim(envelope, flag=known).answer == "halted"
    steps.redis.delete(FLAG)


# -- claim: once, in time, not too often ----------------------------------------------------------


def test_a_step_that_runs_is_busy(steps):
    envelope = steps.running()
    assert steps.claim(envelope, "other").answer == "busy"


def test_a_step_that_is_over_cannot_be_replayed(steps):
    envelope = steps.running()
    steps.ledger.advance(envelope.job, "me", steps.envelope(envelope.job, ROUTE))
    assert steps.claim(envelope).answer == "replayed"


def test_another_envelope_for_the_same_step_is_a_replay(steps):
    job = steps.submit().job
    assert steps.claim(steps.envelope(job, SCREEN)).answer == "replayed"
    assert steps.claim(steps.envelope(job, REVIEW)).answer == "replayed"


def test_a_job_that_has_ended_takes_no_claim(steps):
    envelope = steps.submit()
    steps.ledger.cancel(envelope.job)
    claim = steps.claim(envelope)
    assert (claim.answer, claim.detail) == ("over", "cancelled")


def test_a_job_that_nobody_wrote_down_is_unknown_unless_it_comes_in(steps):
    submission = steps.submission()
    assert steps.claim(submission.envelope).answer == "unknown"
    claim = steps.ledger.claim(submission.envelope, "me", steps.flag, submission.request)
    assert claim.ok
    assert steps.redis.ttl(job_key(submission.request.job)) > 0
    assert steps.redis.ttl(events_key(submission.request.job)) > 0


def test_a_lease_that_ran_out_is_free_again(tiny):
    envelope = tiny.running("first")
    claim = until(lambda: (claim := tiny.claim(envelope, "second")).ok and claim, "the end of the lease")
    assert claim.detail == "2"
    with pytest.raises(JobMoved):
        tiny.ledger.release(envelope.job, "first", "too late")


def test_a_step_is_not_delivered_too_often(tiny):
    envelope = tiny.running()
    until(lambda: tiny.claim(envelope).ok, "the second delivery")
    until(lambda: tiny.claim(envelope).answer == "capped", "the cap")
    assert tiny.ledger.record(envelope.job).deliveries == 2


def test_a_step_that_was_handed_back_does_not_count(tiny):
    envelope = tiny.submit()
    for _ in range(5):
        assert tiny.claim(envelope).ok
        tiny.ledger.release(envelope.job, "me", "lockdown")
    assert tiny.ledger.record(envelope.job).deliveries == 0


def test_every_step_may_be_delivered_as_often_as_the_first(tiny):
    envelope = tiny.running()
    until(lambda: tiny.claim(envelope).ok, "the second delivery")
    following = tiny.envelope(envelope.job, ROUTE)
    tiny.ledger.advance(envelope.job, "me", following)
    assert tiny.claim(following).detail == "1"


def test_a_job_whose_deadline_passed_is_expired(steps):
    assert steps.claim(steps.submit(deadline=now_ms() - 1)).answer == "expired"


# -- advance, release, emit, renew ----------------------------------------------------------------


def test_advancing_stores_the_next_message_and_frees_the_step(steps):
    envelope = steps.running()
    following = steps.envelope(envelope.job, ROUTE)
    steps.ledger.advance(envelope.job, "me", following, route='{"model": "echo"}')
    record = steps.ledger.record(envelope.job)
    assert (record.state, record.station, record.deliveries) == (State.QUEUED, ROUTE, 0)
    assert record.route == {"model": "echo"}
    assert steps.ledger.step(envelope.job)["envelope"] == following.model_dump_json()
    assert steps.claim(following).ok


def test_only_the_holder_moves_a_step(steps):
    job = steps.running("me").job
    with pytest.raises(JobMoved):
        steps.ledger.advance(job, "stranger", steps.envelope(job, ROUTE))
    with pytest.raises(JobMoved):
        steps.ledger.release(job, "stranger", "no")
    with pytest.raises(JobMoved):
        steps.ledger.emit(job, "stranger", steps.flag, "token", text="no")
    assert not steps.ledger.finish(job, State.DONE, "stranger")
    assert steps.ledger.record(job).state is State.RUNNING


def test_a_step_that_is_handed_back_was_not_delivered_unless_it_may_be_to_blame(steps):
    envelope = steps.running()
    steps.ledger.release(envelope.job, "me", "the server is away")
    assert steps.ledger.record(envelope.job).deliveries == 0
    assert steps.claim(envelope).ok
    steps.ledger.release(envelope.job, "me", "the server died of it", counts=True)
    assert steps.ledger.record(envelope.job).deliveries == 1


def test_a_holder_who_was_cancelled_learns_it_at_the_next_token(steps):
    job = steps.running().job
    steps.ledger.emit(job, "me", steps.flag, "token", text="a")
    steps.ledger.cancel(job)
    with pytest.raises(JobMoved, match="cancelled"):
        steps.ledger.emit(job, "me", steps.flag, "token", text="b")
    assert [event.text for event in steps.ledger.events(job) if event.kind == "token"] == ["a"]


def test_no_token_gets_out_under_lockdown(steps):
    job, known = steps.running().job, steps.flag
    engage(steps.redis, "a drill", "me")
    with pytest.raises(LockdownActive):
        steps.ledger.emit(job, "me", known, "token", text="a")


def test_renewing_prolongs_what_is_held_and_tells_what_is_lost(steps):
    kept, cancelled, taken, unknown = (
        steps.running().job,
        steps.running().job,
        steps.running("other").job,
        new_identity(),
    )
    before = steps.ledger.step(kept)["lease"]
    steps.ledger.cancel(cancelled)
    until(lambda: now_ms() + 2000 > int(before), "time to pass")
    lost = steps.ledger.renew([(kept, "me"), (cancelled, "me"), (taken, "me"), (unknown, "me")])
    assert set(lost) == {cancelled, taken, unknown}
    assert int(steps.ledger.step(kept)["lease"]) > int(before)
    assert steps.redis.zscore(DUE, kept) == int(steps.ledger.step(kept)["lease"])
    assert steps.ledger.renew([]) == []


# -- finish ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if state.terminal])
def test_a_job_ends_once(steps, state):
    job = steps.running().job
    assert steps.ledger.finish(job, state, "me", error="X", message="because")
    assert not any(steps.ledger.finish(job, other, "me") for other in State if other.terminal)
    record = steps.ledger.record(job)
    assert (record.state, record.error, record.message) == (state, "X", "because")
    assert states(steps, job) == ["queued", "running", str(state)]


def test_what_has_ended_is_due_no_more_and_lives_for_its_retention(steps):
    job = steps.running().job
    steps.ledger.finish(job, State.DONE, "me", result="{}")
    assert steps.redis.zscore(DUE, job) is None
    assert steps.ledger.due() == []
    assert all(0 < steps.redis.ttl(key) <= steps.ledger.line.retention_s for key in (job_key(job), events_key(job)))
    assert "envelope" not in steps.ledger.step(job)


def test_what_has_ended_is_told_to_the_archive(steps):
    job = steps.running().job
    steps.ledger.finish(job, State.DONE, "me")
    assert [fields for _, fields in steps.redis.xrange(FINISHED)] == [{"job": job, "state": "done"}]


def test_a_dead_letter_names_the_job_and_the_reason(steps):
    job = steps.running().job
    steps.ledger.finish(job, State.FAILED, "me", error="DeliveryCapExceeded", message="too often", dead=True)
    ((_, letter),) = steps.redis.xrange(DEAD)
    assert job in letter["e"]
    assert "DeliveryCapExceeded" in letter["e"]


def test_finishing_an_unknown_job_is_nothing(steps):
    assert not steps.ledger.finish(new_identity(), State.FAILED)
    assert steps.redis.xlen(FINISHED) == 0


# -- cancel and children --------------------------------------------------------------------------


def test_cancel_takes_children_and_grandchildren_along(steps):
    parent = steps.submit().job
    child = steps.running(parent=parent).job
    grandchild = steps.submit(parent=child).job
    assert set(steps.ledger.cancel(parent)) == {parent, child, grandchild}
    assert {steps.ledger.record(job).state for job in (parent, child, grandchild)} == {State.CANCELLED}


def test_cancel_finds_the_children_of_one_that_has_ended(steps):
    parent = steps.running().job
    child = steps.submit(parent=parent).job
    steps.ledger.finish(parent, State.DONE, "me")
    assert steps.ledger.cancel(parent) == [child]


@pytest.mark.parametrize("ended", [True, False])
def test_a_parent_that_has_ended_or_never_was_takes_no_child(steps, ended):
    parent = steps.submit().job if ended else new_identity()
    if ended:
        steps.ledger.cancel(parent)
    child = steps.submission(parent=parent)
    with pytest.raises(JobCancelled, match="cancelled" if ended else "unknown"):
        steps.ledger.submit(child)
    with pytest.raises(JobNotFound):
        steps.ledger.record(child.request.job)
    assert not steps.redis.exists(children_key(parent))


def test_cancelling_what_never_was_is_an_error(steps):
    with pytest.raises(JobNotFound):
        steps.ledger.cancel(new_identity())


# -- due ------------------------------------------------------------------------------------------


def test_due_is_what_nobody_looks_after(tiny):
    waiting, running = tiny.submit().job, tiny.running().job
    until(lambda: set(tiny.ledger.due()) == {waiting, running}, "grace and lease to run out")
    tiny.ledger.look_again(waiting, 60)
    assert tiny.ledger.due() == [running]
    tiny.ledger.forget(running)
    assert tiny.ledger.due() == []


def test_a_request_is_not_kept_longer_than_its_job(steps):
    request = UserRequest(prompt="remember me not")
    job = steps.submit(prompt=request.prompt).job
    steps.ledger.cancel(job)
    assert request.prompt not in str(steps.redis.hgetall(job_key(job)))
