"""A real gpu worker whose engine hangs, breaks or is unloaded: no job is lost, and none is answered twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

from switchtower import UserRequest
from switchtower.models import Sampling
from switchtower.queues import GPU
from switchtower.registry import Vitals, look
from switchtower.settings import settings
from tests.conftest import expect_no_leak
from tests.support.harness import LINE, Harness, harness
from tests.support.post import states
from tests.support.wait import until
from workers.embedded import environment
from workers.models.builtin import NAME

SLOW = LINE.model_copy(update={"lease_s": 90, "grace_s": 60, "soft_shutdown_s": 10})
"""Whatever is not handed back at once comes too late for these tests."""
STUCK_S, HEARTBEAT_S = 6, 0.2
LOCAL = {"STUCK_S": STUCK_S, "HEARTBEAT_S": HEARTBEAT_S, "THREADS": 1, "MAX_BATCH": 4}
QUESTIONS = [f"What is {number} and one?" for number in range(8)]


@dataclass
class Ward:
    """A line with a gpu worker that falls ill on request."""

    line: Harness
    fault: Path

    def start(self) -> None:
        command = (sys.executable, "-m", "tests.support.hanging_worker", f"--fault={self.fault}")
        self.line.supervisor.start("gpu", *command)

    @property
    def gpu(self) -> subprocess.Popen[bytes]:
        return self.line.supervisor.processes["gpu"]

    @property
    def vitals(self) -> list[Vitals]:
        """Of living workers."""
        return [one for one in look(self.line.redis).workers if one.alive(HEARTBEAT_S)]

    def ask(self, *questions: str, tokens: int = 8) -> list[str]:
        made = [UserRequest(prompt=one, sampling=Sampling(max_tokens=tokens)) for one in questions]
        return [self.line.client.submit(one) for one in made]

    def expect_answers(self, jobs: list[str]) -> None:
        """Each job is answered, and once."""
        for job in jobs:
            assert self.line.client.result(job, timeout=60).text, self.line.logs()
        assert [states(self.line, job).count("done") for job in jobs] == [1] * len(jobs)

    def handed_back(self, jobs: list[str]) -> list[str]:
        """Why steps of these jobs were handed back."""
        events = [event for job in jobs for event in self.line.client.ledger.events(job)]
        return [event.data["handed_back"] for event in events if "handed_back" in event.data]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    home = tmp_path_factory.mktemp("ward")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in LOCAL.items():
            patch.setenv(f"SWITCHTOWER_LOCAL__{name}", str(value))
        with harness(home, SLOW) as line:
            made = Ward(line, home / "fault")
            made.start()
            line.start("guardrail", "router", "upkeep")
            until(lambda: [one.state for one in made.vitals] == ["loaded"], "the model", seconds=60)
            yield made
            expect_no_leak(line)


def test_an_engine_that_hangs_gives_every_job_back(ward):
    """Those that run and those that wait behind them are answered by the next process, before any lease runs out.

    A process whose model cannot answer a single token comes between the two: it announces nothing and takes nothing.
    """
    ward.fault.write_text("hang")
    jobs = ward.ask(*QUESTIONS)
    assert ward.gpu.wait(60) == os.EX_SOFTWARE, ward.line.logs()
    assert "a step of the model has taken" in ward.line.logs(last=0)
    assert "WorkerStopping" in ward.handed_back(jobs)
    until(lambda: not ward.vitals, "the last heartbeat to be over")
    ward.fault.write_text("break")
    ward.line.supervisor.respawn("gpu")
    assert ward.gpu.wait(60) == 1
    assert f"{NAME} cannot answer a single token, so it is not announced (RuntimeError)" in ward.line.logs(last=0)
    assert ward.vitals == []
    ward.fault.unlink()
    ward.line.supervisor.respawn("gpu")
    ward.expect_answers(jobs)


# -- by an operator's order -----------------------------------------------------------------------


@pytest.fixture
def models(ward, switchtower, monkeypatch):
    """The command, in the name of the operator of this line; `models("unload", NAME)`."""
    for name, value in environment(ward.line.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SWITCHTOWER_LOCAL__HEARTBEAT_S", str(HEARTBEAT_S))
    yield lambda *words: switchtower("models", *words)
    settings.cache_clear()


def test_what_the_list_shows_of_a_worker(ward, models):
    ward.expect_answers(ward.ask("Is anybody there?"))
    until(lambda: [one.rows for one in ward.vitals] == [0], "a heartbeat after the answer")
    said = models("list").out
    assert "tokens/s" in said
    (one,) = ward.vitals
    assert (one.model, one.state, one.rows, one.waiting, one.max_batch) == (NAME, "loaded", 0, 0, 4)
    assert one.rss_bytes > 50_000_000
    assert one.step_s > 0
    assert one.gpu_celsius is None
    assert f"0/{one.max_batch}" in said


def test_a_model_is_unloaded_and_loaded_while_its_worker_runs(ward, models):
    """An answer that has begun is finished first; jobs that come meanwhile keep their place in the queue."""
    process = ward.gpu
    (running,) = ward.ask("Tell me a story.", tokens=20)
    until(lambda: any(one.rows for one in ward.vitals), "the answer to begin")
    before = ward.vitals[0].rss_bytes
    unloaded = models("unload", NAME, "--reason", "a drill")
    assert (unloaded.code, f"unloaded: {NAME}" in unloaded.out) == (0, True), unloaded
    ward.expect_answers([running])
    assert ward.handed_back([running]) == []
    until(lambda: ward.vitals[0].rss_bytes < before - 50_000_000, "the memory to be free")
    assert not any(one.loaded for one in look(ward.line.redis).models if one.alive(HEARTBEAT_S))
    waiting = ward.ask("Do I wait?", "Do I, too?")
    until(lambda: ward.line.redis.llen(GPU) == len(waiting), "the jobs to come to the queue")
    assert models("load", NAME).code == 0
    ward.expect_answers(waiting)
    assert ward.gpu is process
    assert process.poll() is None


def test_a_worker_that_starts_finds_the_order(ward, models):
    assert models("unload", NAME, "--for", "1h").code == 0
    ward.gpu.terminate()
    ward.gpu.wait(30)
    until(lambda: not ward.vitals, "the old worker's last heartbeat to be over")
    ward.line.supervisor.respawn("gpu")
    until(lambda: [one.state for one in ward.vitals] == ["unloaded"], "the new worker", seconds=60)
    assert models("load", NAME).code == 0
    ward.expect_answers(ward.ask("Is it over?"))


def test_only_a_base_model_that_is_served_can_be_ordered(models):
    adapter = models("unload", "intent-classification-v1")
    assert (adapter.code, f"its base model, {NAME}" in adapter.err) == (1, True)
    unknown = models("load", "nobody")
    assert (unknown.code, f"there are: {NAME}" in unknown.err) == (1, True)
