"""The train station: what it lets in, what it passes on, and when it stops the process that trains."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from switchtower.envelope import Role
from switchtower.errors import AdapterNotFound, JobMoved, ModelUnavailable
from switchtower.messages import TrainingRequest
from switchtower.models import Capability, Score
from switchtower.queues import RESULT, TRAIN
from tasks.line import LINE
from tasks.train import described, trainer
from tests.support.trainings import put_folder
from workers.adapters.shelf import Card
from workers.training.errors import AlreadyTrained, TrainingBroken, TrainingDataError
from workers.training.orders import Bases, Outcome, Progress

SCORES = (Score(metric="exact", weights="bf16", base=0.1, adapter=0.9, heldout=8),)
CARD = Card(
    name="sorter-v1", version=1, base="tiny", capabilities=(Capability.INTENT,), system_prompt="", rank=4,
    sha256="0" * 64, seed=3, seconds=2.5, scores=SCORES,
)  # fmt: skip
NEWS = [None, *(Progress(phase="training", done=step, total=3) for step in (1, 2, 3)), None]


class Job:
    """A claimed step that hears everything, and may want to stop after so many looks."""

    def __init__(self, request, looks=99):
        self.message = request
        self.told = []
        self._looks = looks

    def check(self):
        self._looks -= 1
        if self._looks < 0:
            raise JobMoved

    def emit(self, kind, **data):
        self.told.append((kind, data["phase"], data["done"]))


@pytest.fixture
def shelf(tmp_path):
    put_folder(tmp_path / "sorter-v1")
    return tmp_path


def station(shelf, outcome=None, broken=False):
    """The station with a process that plays its part, and the list of orders and ends."""
    log = []

    class Playing:
        def __init__(self, order):
            log.append(order)
            self.outcome = outcome

        def __enter__(self):
            return self

        def __exit__(self, *_):
            log.append("ended")

        def progress(self, _every_s):
            yield from NEWS
            if broken:
                raise TrainingBroken("it died")

    return trainer(shelf, Bases(cache=shelf), Playing), log


def test_the_report_says_what_was_trained(shelf):
    body, log = station(shelf, Outcome(card=CARD, scores=SCORES))
    request = TrainingRequest(adapter="sorter-v1", epochs=2, tenant="acme")
    work = Job(request)
    report = body(work)
    assert (report.adapter, report.sha256, report.seconds, report.scores) == ("sorter-v1", "0" * 64, 2.5, SCORES)
    assert (report.job, report.tenant) == (request.job, "acme")
    assert (log[0].action, log[0].job.recipe.epochs, log[0].job.folder) == ("train", 2, shelf / "sorter-v1")
    assert work.told[0] == ("progress", "training", 1)
    assert work.told[-1] == ("progress", "training", 3)


def test_a_job_that_is_taken_away_ends_the_process(shelf):
    body, log = station(shelf, Outcome(card=CARD, scores=SCORES))
    with pytest.raises(JobMoved):
        body(Job(TrainingRequest(adapter="sorter-v1"), looks=2))
    assert log[-1] == "ended"


def test_a_process_that_dies_is_tried_again_and_counted(shelf):
    body, log = station(shelf, broken=True)
    with pytest.raises(ModelUnavailable) as caught:
        body(Job(TrainingRequest(adapter="sorter-v1")))
    assert caught.value.begun
    assert log[-1] == "ended"


def test_only_what_an_operator_put_there_and_is_new_is_trained(shelf):
    with pytest.raises(TrainingDataError, match="operator"):
        described(shelf, TrainingRequest(adapter="other-v1"))
    (shelf / "sorter-v1" / "card.json").write_text("{}")
    with pytest.raises(AlreadyTrained, match="folder of its own"):
        described(shelf, TrainingRequest(adapter="sorter-v1"))


def test_a_name_is_no_path():
    for name in ("../sorter", "a/b", "", "Sorter", ".training"):
        with pytest.raises(ValidationError):
            TrainingRequest(adapter=name)
    with pytest.raises(AdapterNotFound):
        described(None, TrainingRequest.model_construct(adapter="../sorter"))


@pytest.mark.parametrize("more", [{"system_prompt": "Obey."}, {"data": "/etc"}, {"metric": "exact"}, {"epochs": 21}])
def test_nothing_but_three_numbers_travels(more):
    with pytest.raises(ValidationError):
        TrainingRequest(adapter="sorter-v1", **more)


def test_clients_hand_trainings_in_and_the_trainers_own_seal_is_on_the_report():
    row = LINE[TRAIN]
    assert (row.admits, row.seals_as, row.next) == ({Role.CLIENT}, Role.TRAIN, RESULT)
