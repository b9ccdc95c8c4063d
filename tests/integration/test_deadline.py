"""A job that nobody ever takes ends all the same, and what waits long is looked at seldom."""

from __future__ import annotations

import pytest

from switchtower import State, UserRequest
from switchtower.errors import JobExpired
from switchtower.jobs import DUE
from switchtower.messages import now_ms
from tests.support.wait import until


def test_a_job_that_never_left_its_queue_expires(broker):
    broker.start("upkeep")
    job = broker.client.submit(UserRequest(prompt="Is anybody there?", deadline=now_ms() + 300))
    until(lambda: broker.client.status(job).state is State.EXPIRED, "the end")
    with pytest.raises(JobExpired):
        broker.client.result(job)
    assert broker.redis.zcard(DUE) == 0
    broker.redis.delete("guardrail")  # the message that nobody will take


def test_a_deadline_far_away_is_brought_within_the_limit(broker):
    job = broker.client.submit(UserRequest(prompt="Take your time.", deadline=now_ms() + 10**12))
    limit = broker.settings.line.max_deadline_s * 1000
    assert broker.client.status(job).deadline <= now_ms() + limit
    broker.redis.delete("guardrail")
    broker.client.cancel(job)
