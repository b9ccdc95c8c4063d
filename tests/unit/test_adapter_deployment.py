"""`adapters deploy` and `rollback`: the gate measures both versions, the shelf follows the file."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.support.shelves import make
from workers.adapters.deployments import Deployments
from workers.adapters.shelf import AdapterShelf
from workers.training import gate
from workers.training.commands import app

ENVIRONMENT = {"COLUMNS": "200"}


@pytest.fixture
def shelf(tmp_path):
    for number in (1, 2, 3):
        folder = make(tmp_path, f"poet-v{number}", card={"version": number})
        (folder / "data").mkdir()
        for split in ("train", "heldout"):
            lines = [json.dumps({"prompt": f"{split} {number} {line}", "answer": "a"}) for line in range(3)]
            (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """The gate's measurements, which a test sets by name; they remember what was asked."""
    scores, jobs = {}, []

    def measure(job):
        jobs.append(job)
        return scores[job.name]

    monkeypatch.setattr(gate, "_measured", measure)
    measure.scores, measure.jobs = scores, jobs
    return measure


def run(shelf, *words):
    return CliRunner().invoke(app, [*words, "--directory", str(shelf)], env=ENVIRONMENT)


def live(shelf):
    return {card.name: card.share for card in AdapterShelf(shelf).cards() if card.capabilities}


def test_a_better_version_goes_live_for_every_shelf_that_looks(shelf, measured):
    measured.scores |= {"poet-v1": {"bf16": 0.7, "nf4": 0.6}, "poet-v2": {"bf16": 0.8, "nf4": 0.7}}
    looking = AdapterShelf(shelf)
    before = {card.name for card in looking.cards() if card.capabilities}
    assert run(shelf, "deploy", "poet-v2").exit_code == 0
    after = {card.name for card in looking.cards() if card.capabilities}
    assert (before, after) == ({"poet-v1"}, {"poet-v2"})
    entry = Deployments(shelf).read()["poet"].history[-1]
    assert entry.scores == {"poet-v2 bf16": 0.8, "poet-v2 nf4": 0.7, "poet-v1 bf16": 0.7, "poet-v1 nf4": 0.6}


def test_both_are_measured_on_the_candidates_held_out_records(shelf, measured):
    measured.scores |= {"poet-v1": {"bf16": 0.1}, "poet-v2": {"bf16": 0.8}}
    run(shelf, "deploy", "poet-v2")
    candidate, incumbent = measured.jobs
    assert (candidate.name, incumbent.name) == ("poet-v2", "poet-v1")
    assert candidate.heldout == incumbent.heldout
    assert candidate.heldout[0].prompt == "heldout 2 0"


@pytest.mark.parametrize("scores", [{"bf16": 0.7, "nf4": 0.9}, {"bf16": 0.6, "nf4": 0.6}, {"bf16": 0.9, "nf4": 0.5}])
def test_a_version_that_is_not_better_everywhere_is_refused_with_both_scores(shelf, measured, scores):
    measured.scores |= {"poet-v1": {"bf16": 0.7, "nf4": 0.6}, "poet-v2": scores}
    result = run(shelf, "deploy", "poet-v2")
    assert result.exit_code == 2
    assert f"bf16: poet-v2 {scores['bf16']}, poet-v1 0.7" in result.output
    assert live(shelf) == {"poet-v1": 1}


def test_force_measures_nothing_and_its_reason_stands_in_the_history(shelf, measured):
    assert run(shelf, "deploy", "poet-v3", "--force", "--reason", "v1 leaks names").exit_code == 0
    assert measured.jobs == []
    assert Deployments(shelf).read()["poet"].history[-1].reason == "forced: v1 leaks names"
    assert live(shelf) == {"poet-v3": 1}


def test_force_without_a_reason_is_refused(shelf):
    assert run(shelf, "deploy", "poet-v3", "--force").exit_code == 2
    assert live(shelf) == {"poet-v1": 1}


def test_a_share_is_a_trial_and_rollback_ends_it(shelf, measured):
    measured.scores |= {"poet-v1": {"bf16": 0.7}, "poet-v2": {"bf16": 0.8}}
    shown = run(shelf, "deploy", "poet-v2", "--share", "0.1").output
    assert "poet-v1: 90.0%, poet-v2: 10.0%" in shown
    assert live(shelf) == {"poet-v1": 0.9, "poet-v2": 0.1}
    assert "10%" in run(shelf, "list").output
    assert "poet-v1: 100.0%" in run(shelf, "rollback", "poet").output
    assert live(shelf) == {"poet-v1": 1}


def test_rolling_back_what_was_never_deployed_is_refused(shelf):
    result = run(shelf, "rollback", "poet-v1")
    assert result.exit_code == 2
    assert "no deployment is left" in result.output


def test_what_is_not_there_or_not_sound_is_not_deployed(shelf):
    (shelf / "poet-v2" / "card.json").write_text("{")
    for name in ("poet-v2", "poet-v9", "../poet"):
        assert run(shelf, "deploy", name, "--force", "--reason", "x").exit_code == 2
    assert live(shelf) == {"poet-v1": 1}


def test_numbers_only_go_with_the_queue(shelf):
    result = run(shelf, "train", "poet-v4", "--queue")
    assert result.exit_code == 2
    assert "go with --queue" in result.output
