"""The ledger when many want the same thing at once, and in any order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from switchtower import State
from switchtower.errors import JobMoved
from switchtower.jobs import DUE, FINISHED, job_key
from switchtower.queues import GENERATE_LOCAL, REVIEW, ROUTE, SCREEN
from tests.support.steps import Steps

CROWD = 50
ORDER = (SCREEN, ROUTE, GENERATE_LOCAL, REVIEW)
ENDS = [state for state in State if state.terminal]


@pytest.fixture
def steps(quick_broker):
    return Steps(quick_broker)


def at_once(act):
    """What each of fifty threads got that did the same at the same moment."""
    barrier = Barrier(CROWD)

    def one(number):
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


def test_one_of_fifty_claims_a_step(steps):
    envelope, flag = steps.submit(), steps.flag
    answers = at_once(lambda number: steps.claim(envelope, f"holder-{number}", flag).answer)
    assert sorted(answers) == ["busy"] * (CROWD - 1) + ["ok"]


def test_one_of_fifty_ends_a_job(steps):
    job = steps.running().job
    answers = at_once(lambda number: steps.ledger.finish(job, ENDS[number % len(ENDS)]))
    assert answers.count(True) == 1
    assert steps.redis.xlen(FINISHED) == 1
    assert [event.state.terminal for event in steps.ledger.events(job) if event.state].count(True) == 1


def test_one_of_fifty_submissions_under_one_key_is_the_job(steps):
    jobs = at_once(lambda number: steps.ledger.submit(steps.submission("key")).job)
    assert len(set(jobs)) == 1
    assert len(list(steps.redis.scan_iter("switchtower:job:*"))) == 2  # the record and its events


def test_a_child_is_cancelled_or_refused_but_never_left_behind(steps):
    parent = steps.running().job

    def act(number):
        if number == CROWD // 2:
            return steps.ledger.cancel(parent)
        try:
            return [steps.ledger.submit(steps.submission(parent=parent)).job]
        except Exception as refused:  # noqa: BLE001
            return [type(refused).__name__]

    children = {one for answers in at_once(act) for one in answers} - {parent, "JobCancelled"}
    steps.ledger.cancel(parent)
    assert {steps.ledger.record(child).state for child in children} <= {State.CANCELLED}


class Jobs(RuleBasedStateMachine):
    """One job and three workers, who do everything that they can think of, in any order."""

    steps: Steps
    holders = st.sampled_from(["ada", "bob", "eve"])

    def __init__(self):
        super().__init__()
        self.envelope = self.steps.submit()
        self.job = self.envelope.job
        self.state, self.holder, self.place, self.tries, self.lapsed = State.QUEUED, "", 0, 0, False

    @rule(holder=holders)
    def claim(self, holder):
        answer = self.steps.claim(self.envelope, holder).answer
        if self.state.terminal:
            assert answer == "over"
        elif self.state is State.RUNNING and not self.lapsed:
            assert answer == "busy"
        elif self.tries >= self.steps.ledger.line.max_deliveries:
            assert answer == "capped"
        else:
            assert answer == "ok"
            self.state, self.holder, self.tries, self.lapsed = State.RUNNING, holder, self.tries + 1, False

    @precondition(lambda self: not self.state.terminal)
    @rule()
    def replay(self):
        stranger = self.steps.envelope(self.job, ORDER[self.place])
        assert self.steps.claim(stranger).answer == "replayed"

    @rule(holder=holders)
    def advance(self, holder):
        following = self.steps.envelope(self.job, ORDER[(self.place + 1) % len(ORDER)])
        if self.may(lambda: self.steps.ledger.advance(self.job, holder, following), holder):
            self.place, self.tries, self.state = (self.place + 1) % len(ORDER), 0, State.QUEUED
            self.envelope, self.holder = following, ""

    @rule(holder=holders)
    def release(self, holder):
        if self.may(lambda: self.steps.ledger.release(self.job, holder, "why"), holder):
            self.tries, self.state, self.holder = self.tries - 1, State.QUEUED, ""

    def may(self, act, holder):
        """Do it; whether it was this holder's to do, as the ledger and the model agree."""
        mine = self.state is State.RUNNING and self.holder == holder
        if mine:
            act()
        else:
            with pytest.raises(JobMoved):
                act()
        return mine

    @rule(holder=holders)
    def renew(self, holder):
        mine = self.state is State.RUNNING and self.holder == holder
        assert self.steps.ledger.renew([(self.job, holder)]) == ([] if mine else [self.job])
        self.lapsed = self.lapsed and not mine

    @precondition(lambda self: self.state is State.RUNNING)
    @rule()
    def lapse(self):
        self.steps.redis.hset(job_key(self.job), "lease", 1)
        self.lapsed = True

    @rule(holder=holders, end=st.sampled_from(ENDS))
    def finish(self, holder, end):
        mine = self.state is State.RUNNING and self.holder == holder
        assert self.steps.ledger.finish(self.job, end, holder) == mine
        if mine:
            self.state, self.holder = end, ""

    @rule()
    def cancel(self):
        assert self.steps.ledger.cancel(self.job) == ([] if self.state.terminal else [self.job])
        self.state = self.state if self.state.terminal else State.CANCELLED
        self.holder = ""

    @invariant()
    def the_record_is_what_we_think(self):
        record = self.steps.ledger.record(self.job)
        assert record.state is self.state
        assert self.state.terminal or (record.station, record.deliveries) == (ORDER[self.place], self.tries)
        assert (self.steps.redis.zscore(DUE, self.job) is None) == self.state.terminal

    @invariant()
    def the_end_is_told_once(self):
        told = [event.state for event in self.steps.ledger.events(self.job) if event.state]
        assert [state for state in told if state.terminal] == ([self.state] if self.state.terminal else [])
        assert told[-1] is self.state


def test_every_order_of_moves_leaves_the_ledger_whole(steps):
    class Machine(Jobs):
        pass

    Machine.steps = steps
    quiet = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Machine, settings=quiet)
