"""Whatever befalls a guardrail worker, what it could not judge does not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from switchtower.errors import DeliveryCapExceeded, GuardrailRefused
from switchtower.jobs import State
from tests.conftest import expect_no_leak
from tests.support.faulty_guardrail import CRASH, HANG, HOG, RAISE
from tests.support.harness import LINE, Harness, harness
from tests.support.post import states
from tests.support.wait import until
from workers.embedded import environment

QUICK = LINE.model_copy(update={"lease_s": 0.6, "grace_s": 0.4, "sweep_s": 0.1, "max_deliveries": 2})
FAULTY = (sys.executable, "-m", "tests.support.faulty_guardrail")


@pytest.fixture(scope="module", params=["threads", "prefork"])
def line(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """A line whose guardrail fails when told to, given up after one second, started again when it ends."""
    with harness(tmp_path_factory.mktemp("line"), QUICK) as made:
        made.supervisor.start("guardrail", *FAULTY, f"--pool={request.param}", SWITCHTOWER_SECURITY__JUDGE_S="1")
        made.start("router", "gpu", "upkeep")
        made.watch()
        until(lambda: made.client.result(made.client.submit("hello"), timeout=30), "a first answer")
        yield made
        expect_no_leak(made)


def never_reached_a_model(line, job):
    """Whether no station after `screen` ever had the job."""
    events = line.client.ledger.events(job)
    return all(event.data.get("station") in (None, "switchtower.screen") for event in events)


@pytest.mark.parametrize("fault", [RAISE, HOG])
def test_a_guardrail_that_raises_or_runs_out_of_memory_refuses(line, fault):
    job = line.client.submit(f"please {fault}")
    with pytest.raises(GuardrailRefused, match="guardrail_error"):
        line.client.result(job, timeout=30)
    assert never_reached_a_model(line, job)
    assert f"please {fault}" not in line.logs(last=0)


def test_a_text_that_kills_its_guardrail_never_passes(line):
    job = line.client.submit(f"please {CRASH}")
    with pytest.raises(DeliveryCapExceeded):
        line.client.result(job, timeout=60)
    assert states(line, job).count("running") == QUICK.max_deliveries
    assert never_reached_a_model(line, job)


def test_a_guardrail_that_hangs_refuses(line):
    job = line.client.submit(f"please {HANG}")
    with pytest.raises(GuardrailRefused, match="did not judge within"):
        line.client.result(job, timeout=30)
    assert never_reached_a_model(line, job)


def test_a_guardrail_whose_every_place_hangs_is_started_again(line):
    jobs = [line.client.submit(f"please {HANG} {number}") for number in range(4)]
    until(lambda: all(line.client.status(job).state is State.REFUSED for job in jobs), "four refusals", seconds=60)
    assert line.client.result(line.client.submit("hello again"), timeout=60).text == "hello again"


def test_a_worker_with_a_bad_rule_does_not_start(line, tmp_path):
    pack = tmp_path / "bad.toml"
    pack.write_text('[[rule]]\nname = "bad"\npattern = "("\n')
    rules = {"SWITCHTOWER_SECURITY__RULES": f'["{pack}"]'}
    ended = subprocess.run(
        [sys.executable, "-m", "switchtower", "worker", "guardrail"],
        env=os.environ | environment(line.settings) | rules,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert f"{pack}:3" in ended.stderr.replace("\n", "")
