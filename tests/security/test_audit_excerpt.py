"""What the audit keeps of a judged text: nothing, or where policy says so its redacted beginning."""

from __future__ import annotations

import json

import pytest

from security.redaction.excerpt import LENGTH, excerpt
from switchtower.jobs import AUDIT
from switchtower.messages import new_identity
from tests.conftest import expect_no_leak
from tests.support.harness import harness

SECRET = "mia.berg@example.org"
QUESTION = f"Write a note to {SECRET} about the harbour"


def test_an_excerpt_is_short_and_holds_no_private_value():
    job = new_identity()
    assert SECRET not in excerpt(QUESTION, job)
    assert excerpt(QUESTION, job).startswith("Write a note to [EMAIL_1_")
    assert len(excerpt("harbour " * 1000, job)) == LENGTH


def test_a_value_at_the_place_of_the_cut_is_not_cut_in_two():
    kept = excerpt("x " * (LENGTH // 2 - 4) + SECRET, new_identity())
    assert "mia" not in kept


@pytest.mark.parametrize("policy", ["none", "redacted"])
def test_a_verdict_bears_an_excerpt_only_where_policy_says_so(tmp_path, policy):
    with harness(tmp_path) as line:
        line.supervisor.start("guardrail", SWITCHTOWER_AUDIT__EXCERPT=policy)
        line.start("router", "gpu", "upkeep")
        line.client.result(line.client.submit(QUESTION), timeout=60)
        notes = [json.loads(fields["e"]) for _, fields in line.redis.xrange(AUDIT)]
        events = [json.loads(note.get("payload", json.dumps(note))) for note in notes]
        screened = next(event for event in events if event.get("actor") == "switchtower.screen")
        assert bool(screened["excerpt"]) is (policy == "redacted")
        assert SECRET not in json.dumps(events)
        expect_no_leak(line)
