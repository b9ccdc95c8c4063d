"""The local model of a worker in this process: loading, unloading, and what is done when it does not answer."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from switchtower.errors import (
    AdapterForeign,
    AdapterUnloaded,
    BaseModelError,
    ModelOutOfMemory,
    ModelUnavailable,
    WorkerStopping,
)
from switchtower.models import Sampling
from switchtower.registry import LOADED, UNLOADED
from switchtower.settings import Line, Local, Settings
from tests.support.engines import write_random
from tests.support.tiny import write_model
from tests.support.wait import until
from workers import local
from workers.adapters.shelf import CARD
from workers.local import LocalModel
from workers.models import base as base_model
from workers.models.holder import State

ASKED = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


class Bench:
    """A model of a few kilobytes with an operator beside it; `fail` is what loading it ends in."""

    def __init__(self, folder, directory):
        self.fail = None
        self.loads = 0
        limits = Local(threads=1, context_size=128, max_batch=2, kv_cache_mb=16, adapter_directory=directory / "none")
        settings = Settings(local=limits, line=Line(soft_shutdown_s=0.2, grace_s=0.2))
        self.runtime = SimpleNamespace(away=threading.Event(), settings=settings)
        self.order = LOADED
        self.orders = SimpleNamespace(wanted=lambda: self.order)
        self._cache, self._folder = directory, str(folder)
        self.model = LocalModel(settings, self._load, "tiny")
        self.model._runtime = self.runtime
        self.model._be(away=True)

    def _load(self):
        self.loads += 1
        if self.fail:
            raise self.fail
        self.base = base_model.load(self._cache, "cpu", source=self._folder, dtype="float32")
        return self.base

    def follow(self):
        """A heartbeat."""
        self.model._follow(self.runtime, self.orders)

    def ask(self, tokens=3, on_token=lambda _: None):
        return self.model.generate(ASKED, None, Sampling(max_tokens=tokens), on_token, lambda: None)

    @property
    def engine(self):
        return self.model._serving

    @property
    def away(self):
        """Whether jobs are left to others, by both who take them and who hold them."""
        assert self.runtime.away.is_set() is not self.model.engine.up.is_set()
        return self.runtime.away.is_set()


@pytest.fixture
def bench(folder, tmp_path):
    made = Bench(folder, tmp_path)
    yield made
    made.model.unload()


@pytest.fixture
def loaded(bench):
    bench.follow()
    return bench


@pytest.fixture
def given_up(monkeypatch):
    """Why the process would have ended."""
    reasons = []
    monkeypatch.setattr(local, "give_up", lambda runtime, loop, why: reasons.append(why))
    return reasons


# -- loading and unloading ------------------------------------------------------------------------


def test_a_loaded_model_answers(loaded):
    assert (loaded.model.state, loaded.away) == (State.LOADED, False)
    assert loaded.ask().completion_tokens == 3


def test_an_unloaded_model_keeps_nothing_and_is_loaded_anew(loaded):
    base = loaded.base
    loaded.order = UNLOADED
    for _ in range(3):
        loaded.follow()
    assert (loaded.model.state, loaded.away, loaded.engine) == (State.UNLOADED, True, None)
    assert sum(parameter.numel() for parameter in base.model.parameters()) == 0
    with pytest.raises(ModelUnavailable):
        loaded.ask()
    loaded.order = LOADED
    for _ in range(3):
        loaded.follow()
    assert (loaded.model.state, loaded.away, loaded.loads) == (State.LOADED, False, 2)
    assert loaded.ask().completion_tokens == 3


def test_who_does_not_finish_in_time_is_handed_back(loaded):
    """The engine would write for as long as somebody reads slowly; unloading waits for a moment only."""
    begun, ended, release = threading.Event(), [], threading.Event()

    def slow(_):
        begun.set()
        release.wait(30)

    def stop():
        release.wait(0.2)  # the engine's own thread: a step that takes its time

    def job():
        try:
            loaded.model.generate(ASKED, None, Sampling(max_tokens=100), slow, stop)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            ended.append(error)

    thread = threading.Thread(target=job)
    thread.start()
    assert begun.wait(30)
    loaded.order = UNLOADED
    loaded.follow()
    release.set()
    thread.join(30)
    assert [type(one) for one in ended] == [WorkerStopping]
    assert loaded.model.state is State.UNLOADED


# -- what cannot be loaded ------------------------------------------------------------------------


def test_a_load_that_fails_is_said_and_tried_again(bench, monkeypatch):
    bench.fail = torch.OutOfMemoryError("CUDA out of memory")
    bench.follow()
    bench.follow()
    assert (bench.model.state, bench.away, bench.loads) == (State.UNLOADED, True, 1)
    assert "OutOfMemoryError; tried again" in bench.model._trouble
    monkeypatch.setattr(bench.model, "_again", 0)
    bench.fail = None
    bench.follow()
    assert (bench.model.state, bench.away, bench.model._trouble) == (State.LOADED, False, "")


def test_a_model_that_is_loaded_and_cannot_answer_is_let_go(bench, monkeypatch):
    def broken(base):
        engine = LocalModel.made(bench.model, base)
        monkeypatch.setattr(engine.loop._runner, "run", fail)
        return engine

    def fail(*_):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(bench.model, "made", broken)
    with pytest.raises(BaseModelError, match="cannot answer a single token"):
        bench.model.load()
    assert (bench.model.state, bench.engine) == (State.UNLOADED, None)
    assert sum(parameter.numel() for parameter in bench.base.model.parameters()) == 0


# -- what answers no more -------------------------------------------------------------------------


def test_a_strange_error_makes_the_worker_look(loaded, given_up, monkeypatch):
    """One job's error may be its own; a model that answers no single token ends the process."""
    monkeypatch.setattr(loaded.engine.loop._runner, "run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loaded.ask()
    loaded.follow()
    assert given_up == ["the model does not answer a single token (ZeroDivisionError)"]


def test_a_job_that_breaks_alone_ends_nothing(loaded, given_up):
    def fail(_):
        raise OSError("the stream is gone")

    with pytest.raises(OSError, match="gone"):
        loaded.ask(on_token=fail)
    steps = loaded.engine.loop.meter.steps
    loaded.follow()
    assert given_up == []
    assert loaded.engine.loop.meter.steps > steps


def test_too_little_memory_for_the_check_ends_nothing(loaded, given_up, monkeypatch):
    def lack():
        raise ModelOutOfMemory

    monkeypatch.setattr(loaded.engine, "health_check", lack)
    loaded.model._checkup.suspect = True
    loaded.follow()
    assert given_up == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_thread_has_died_is_given_up(loaded, given_up, monkeypatch):
    def die(*_):
        raise SystemExit

    monkeypatch.setattr(loaded.engine.loop._runner, "run", die)
    with pytest.raises(WorkerStopping):
        loaded.ask()
    until(lambda: loaded.engine.loop.died, "the thread to end")
    loaded.model._watch(loaded.runtime)
    assert given_up == ["the engine's thread has died"]
    loaded.follow()
    assert loaded.loads == 1  # nothing is loaded in a process that ends


def test_an_engine_that_was_closed_on_purpose_is_not_dead(loaded, given_up):
    engine = loaded.engine
    engine.close()
    loaded.model._watch(loaded.runtime)
    assert given_up == []


def test_an_adapter_whose_folder_is_taken_away_leaves_its_slot_and_may_come_back(bench):
    directory = bench.model.shelf.directory
    directory.mkdir()
    bench.follow()
    write_random(directory / "red-v1", bench.base.linears(), 1, base="tiny")

    def ask():
        return bench.model.generate(ASKED, "red-v1", Sampling(max_tokens=2), str, lambda: None)

    ask()
    (directory / "red-v1").rename(directory.parent / "aside")
    bench.follow()
    until(lambda: not bench.engine.adapters.facts(), "an empty bank")
    with pytest.raises(AdapterUnloaded):
        ask()
    (directory.parent / "aside").rename(directory / "red-v1")
    bench.follow()
    assert ask().completion_tokens


def test_an_adapter_made_for_other_weights_of_the_same_name_is_refused(bench):
    directory = bench.model.shelf.directory
    directory.mkdir()
    bench.follow()
    write_random(directory / "red-v1", bench.base.linears(), 1, base="tiny")
    card = directory / "red-v1" / CARD
    card.write_text(json.dumps(json.loads(card.read_text()) | {"base_sha256": "0" * 64}))
    with pytest.raises(AdapterForeign):
        bench.model.generate(ASKED, "red-v1", Sampling(max_tokens=2), str, lambda: None)
