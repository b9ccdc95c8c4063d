"""Trainings on the queue: they start, stop and go on as any job does, and end exactly once."""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from security.lockdown import engage
from switchtower import State
from switchtower.errors import JobCancelled, JobFailed
from switchtower.jobs import job_key
from switchtower.messages import TrainingRequest, new_identity
from switchtower.queues import TRAIN
from tests.conftest import expect_no_leak
from tests.contracts.test_wire import _code
from tests.support.harness import LINE, Harness, harness
from tests.support.post import states
from tests.support.trainings import LONG, STEPS, put_folder, tiny_bases
from tests.support.wait import until
from workers.adapters.shelf import AdapterShelf
from workers.training.checkpoints import FILE, FOLDER
from workers.training.orders import Order
from workers.training.process import Training
from workers.training.recipes import read_job

PATIENCE_S = 120


@dataclass
class Site:
    """A line with a train worker, and the shelf that it trains."""

    line: Harness
    shelf: Path
    bases: object

    def submit(self, name: str, **numbers: int) -> str:
        return self.line.client.train(TrainingRequest(adapter=name, **numbers))

    def reaches(self, job: str, step: int) -> None:
        """Wait until the training has made so many steps."""
        for event in self.line.client.events(job, timeout=PATIENCE_S):
            if event.kind == "progress" and event.data["phase"] == "training" and event.data["done"] >= step:
                return
        raise AssertionError(f"the training ended before step {step}:\n{self.line.logs()}")

    def idle(self, name: str) -> bool:
        """Whether no process trains this adapter."""
        try:
            with (self.shelf / name / FOLDER / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        return True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("training")
    bases, shelf = tiny_bases(home), home / "shelf"
    shelf.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWITCHTOWER_LOCAL__ADAPTER_DIRECTORY", str(shelf))
        patch.setenv("SWITCHTOWER_LOCAL__CACHE_DIRECTORY", str(bases.cache))
        patch.setenv("SWITCHTOWER_LOCAL__BASE_MODEL_PATH", str(bases.source))
        with harness(home / "line", LINE.model_copy(update={"lease_s": 1, "grace_s": 0.5})) as line:
            line.start("train", "upkeep")
            yield Site(line, shelf, bases)
            expect_no_leak(line)


def test_a_killed_worker_costs_no_step_that_was_saved_and_the_job_ends_once(site):
    put_folder(site.shelf / "sorter-v1")
    job = site.submit("sorter-v1")
    site.reaches(job, 20)
    site.line.kill("train")
    report = site.line.client.report(job, timeout=PATIENCE_S)
    assert states(site.line, job).count("done") == 1, site.line.logs()
    card = AdapterShelf(site.shelf, "tiny").card("sorter-v1")
    assert (report.adapter, report.sha256, report.scores) == ("sorter-v1", card.sha256, card.scores)
    assert card.sha256 == uninterrupted(site)
    assert card.controls.keys() == {"zero-shot choice", "frozen hidden state + logistic regression"}
    assert not (site.shelf / "sorter-v1" / FOLDER).exists()
    told = [event.data for event in site.line.client.events(job) if event.kind == "progress"]
    assert {"training", "measuring: base, bf16", "measuring: adapter, bf16"} <= {one["phase"] for one in told}
    assert max(one["done"] for one in told if one["phase"] == "training") == STEPS


def uninterrupted(site) -> str:
    """What the same folder gives without the line."""
    folder = put_folder(site.shelf / "twin-v1")
    with Training(Order(action="train", job=read_job(folder), bases=site.bases)) as training:
        for _ in training.progress():
            pass
        return training.outcome.card.sha256


def test_lockdown_and_cancel_stop_a_training_and_leave_its_checkpoint(site):
    put_folder(site.shelf / "long-v1", **LONG)
    job = site.submit("long-v1", seed=5)
    site.reaches(job, 20)
    engage(site.line.redis, "a drill", "test")
    until(lambda: site.line.client.status(job).state is State.QUEUED, "the job to be handed back")
    assert site.idle("long-v1")
    checkpoint = site.shelf / "long-v1" / FOLDER / FILE
    saved = checkpoint.stat().st_mtime_ns
    site.line.release()
    until(lambda: checkpoint.stat().st_mtime_ns > saved, site.line.logs, PATIENCE_S)
    assert site.line.client.cancel(job) == [job]
    with pytest.raises(JobCancelled):
        site.line.client.report(job, timeout=PATIENCE_S)
    until(lambda: site.idle("long-v1"), "the process to end")
    assert not (site.shelf / "long-v1" / "card.json").exists()


@pytest.mark.parametrize(
    ("name", "why"), [("unknown-v1", "an operator puts it there"), ("taught-v1", "folder of its own")]
)
def test_what_an_operator_has_not_put_there_and_what_is_trained_is_refused(site, name, why):
    put_folder(site.shelf / "taught-v1").joinpath("card.json").write_text("{}") if name == "taught-v1" else None
    with pytest.raises(JobFailed, match=why):
        site.line.client.report(site.submit(name), timeout=PATIENCE_S)


def test_a_service_with_plain_celery_can_start_one(site):
    key = json.loads((site.line.settings.security.keys_directory / "client.key").read_text())
    page, job = _code(), new_identity()
    page["WIRE"] = TRAIN
    wish = {"v": 1, "kind": "training_request", "id": job, "job": job, "adapter": "unknown-v1"}
    envelope = page["seal"](base64.b64decode(key["seed"]), key["kid"], job, json.dumps(wish))
    with Celery(broker=site.line.settings.broker.url, set_as_current=False) as bare:
        bare.send_task(TRAIN, args=[envelope], task_id=envelope["id"], queue="train", ignore_result=True)
        until(lambda: site.line.redis.exists(job_key(job)), site.line.logs)
    with pytest.raises(JobFailed, match="an operator puts it there"):
        site.line.client.report(job, timeout=PATIENCE_S)
