"""Redaction on a running line: the model sees placeholders only, and the user reads their own words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from security.redaction.placeholders import tag_of
from security.redaction.vault import vault_key
from switchtower import Turn, UserRequest
from tests.conftest import expect_no_leak
from tests.support.harness import Harness, harness

PRIVATE = ("ada.kovacs@example.org", "+44 20 7946 0958", "Ada Kovacs")
PROMPT = "My name is Ada Kovacs. Write to ada.kovacs@example.org or call +44 20 7946 0958, and sign as Ada Kovacs."


@dataclass(frozen=True)
class Disguised:
    """A line with a mirror in the model's place, and what the mirror saw."""

    made: Harness
    seen: Path

    def saw(self, about: str) -> list[dict[str, str]]:
        """The conversation whose last message holds these words."""
        conversations = [json.loads(line) for line in self.seen.read_text().splitlines()]
        return next(one for one in conversations if about in one[-1]["content"])


@pytest.fixture(scope="module")
def disguised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disguised]:
    """Every model is asked in placeholders here, local ones as well."""
    home = tmp_path_factory.mktemp("disguised")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWITCHTOWER_SECURITY__REDACT", "always")
        with harness(home) as made:
            seen = home / "seen.jsonl"
            command = (sys.executable, "-m", "tests.support.mirror_worker", f"--seen={seen}")
            made.supervisor.start("gpu", *command)
            made.start("guardrail", "router", "upkeep")
            yield Disguised(made, seen)
            expect_no_leak(made)


def test_the_model_sees_placeholders_and_the_user_their_own_words(disguised):
    job = disguised.made.client.submit(f"{PROMPT} one")
    result = disguised.made.client.result(job, timeout=30)
    seen = disguised.saw("one")[-1]["content"]
    assert not [value for value in PRIVATE if value in seen]
    assert seen.count(f"_{tag_of(job)}]") == 4
    assert result.text == f"{PROMPT} one", disguised.made.logs()
    assert result.verdict.findings == ()


def test_the_stream_has_the_users_own_words_too(disguised):
    job = disguised.made.client.submit(f"{PROMPT} two")
    pieces = list(disguised.made.client.stream(job, timeout=30))
    assert "".join(pieces) == f"{PROMPT} two", disguised.made.logs()
    assert len(pieces) > 5


def test_the_history_is_disguised_as_well_and_one_value_has_one_placeholder(disguised):
    history = (Turn(role="user", text=PROMPT), Turn(role="assistant", text="Gladly, Ada Kovacs."))
    job = disguised.made.client.submit(UserRequest(prompt="Is ada.kovacs@example.org right? three", history=history))
    assert disguised.made.client.result(job, timeout=30).text == "Is ada.kovacs@example.org right? three"
    said = json.dumps(disguised.saw("three"))
    assert not [value for value in PRIVATE if value in said]
    assert said.count(f"[EMAIL_1_{tag_of(job)}]") == 2
    assert said.count(f"[PERSON_1_{tag_of(job)}]") == 3


def test_the_vault_ends_with_the_jobs_deadline_and_shows_nobody_a_value(disguised):
    request = UserRequest(prompt=f"{PROMPT} four")
    job = disguised.made.client.submit(request)
    disguised.made.client.result(job, timeout=30)
    redis, line = disguised.made.redis, disguised.made.settings.line
    assert 0 < redis.ttl(vault_key(job)) <= line.deadline_s
    assert not [value for value in PRIVATE if value in redis.get(vault_key(job))]


def test_what_is_not_private_makes_no_vault(disguised):
    job = disguised.made.client.submit("What is a switch tower? five")
    assert disguised.made.client.result(job, timeout=30).text == "What is a switch tower? five"
    assert disguised.made.redis.get(vault_key(job)) is None
