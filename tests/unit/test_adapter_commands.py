"""Publishing an adapter, and what the commands say; no model is loaded."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from switchtower.models import Score
from tests.unit.test_adapters import LINEARS, SHAPES, make, safetensors
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, AdapterShelf, Shape
from workers.training import trainer as training
from workers.training.commands import app
from workers.training.errors import AlreadyTraining, NotBetter
from workers.training.orders import Bases, Outcome
from workers.training.recipes import Job, Recipe
from workers.training.records import Record
from workers.training.report import BEGIN, END, write_scores

SHAPE = Shape(
    peft_type="LORA",
    base_model_name_or_path="smollm2-135m-instruct",
    r=2,
    lora_alpha=4,
    target_modules=("q_proj", "down_proj"),
)
FILES = {CARD, CONFIG, WEIGHTS}


@pytest.fixture
def job(tmp_path):
    train, heldout = (Record(prompt="p", answer="a"),), (Record(prompt="q", answer="a"), Record(prompt="r", answer="b"))
    return Job(folder=tmp_path / "poet-v1", recipe=Recipe(rank=2), train=train, heldout=heldout)


BASES = Bases(cache=Path("nowhere"))


def unheard(*_: object, **__: object) -> None:
    """Nobody listens."""


@pytest.fixture
def trained(monkeypatch):
    """A training that takes no time and ends with the score that the test sets."""

    def ends_with(adapter, base=0.5):
        weights = safetensors(SHAPES)
        scores = (Score(metric="exact", weights="bf16", base=base, adapter=adapter, heldout=1),)
        loaded = SimpleNamespace(name="smollm2-135m-instruct", sha256="")
        monkeypatch.setattr(training, "_settle_threads", lambda: None)
        monkeypatch.setattr(training, "_dense", lambda *_: loaded)
        monkeypatch.setattr(training, "_trained", lambda *_: (weights, SHAPE, 1.0))
        monkeypatch.setattr(training, "_measured_all", lambda *_: Outcome(scores=scores, controls={"probe": 0.4}))

    return ends_with


def test_a_better_adapter_is_published_and_can_be_taken(job, tmp_path, trained):
    trained(0.9)
    card = training.train(job, BASES, unheard).card
    assert AdapterShelf(tmp_path).take("poet-v1", LINEARS).card == card
    assert card.controls == {"probe": 0.4}
    assert {file.name for file in job.folder.iterdir()} == FILES


@pytest.mark.parametrize(("score", "base"), [(0.6, 0.6), (0.5, 0.6), (0.5, 0.1)])
def test_an_adapter_that_does_not_beat_both_base_and_constant_is_not_kept(job, trained, score, base):
    trained(score, base)
    with pytest.raises(NotBetter, match="nothing was written"):
        training.train(job, BASES, unheard)
    assert not job.folder.exists()


def test_an_interrupt_leaves_the_old_adapter_as_it_was(job, tmp_path, trained, monkeypatch):
    folder = make(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    trained(0.9)
    monkeypatch.setattr(training, "_pretty", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(job, BASES, unheard)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_one_adapter_is_trained_by_one_process_at_a_time(job, trained):
    trained(0.9)
    with training._alone(job.folder), pytest.raises(AlreadyTraining, match="poet-v1"):
        training.train(job, BASES, unheard)
    assert training.train(job, BASES, unheard).card


def test_the_list_shows_a_broken_adapter_with_its_reason(tmp_path):
    make(tmp_path)
    make(tmp_path, "odd-v1", card={"base": "llama-7b"})
    shown = CliRunner().invoke(app, ["list", "--directory", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "poet-v1" in shown
    assert "llama-7b" in shown


def test_bad_data_is_refused_before_anything_is_loaded(tmp_path):
    data = tmp_path / "bad.jsonl"
    data.write_text('{"prompt": "p"}\n')
    result = CliRunner().invoke(app, ["train", "poet-v1", "--data", str(data), "--directory", str(tmp_path)])
    assert result.exit_code == 2
    assert "bad.jsonl:1: answer" in result.output


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_what_is_no_name_is_refused(tmp_path, command):
    result = CliRunner().invoke(app, [command, "../Poet", "--directory", str(tmp_path)])
    assert result.exit_code == 2
    assert "no adapter name" in result.output


def test_the_table_of_scores_is_written_between_its_marks(tmp_path):
    score = {"metric": "exact", "weights": "nf4", "base": 0.25, "adapter": 0.75, "heldout": 120}
    make(tmp_path, card={"scores": [score], "seconds": 80})
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write_scores(tmp_path)
    text = readme.read_text()
    assert "| poet-v1 | exact | nf4 | 0.250 | **0.750** | 120 | 80 s |" in text
    assert text.startswith("above\n")
    assert text.endswith("below\n")
    assert "old" not in text


def test_help_loads_no_torch():
    modules = "('torch', 'transformers')"
    code = f"import sys, workers.training.commands; sys.exit(any(name in sys.modules for name in {modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
