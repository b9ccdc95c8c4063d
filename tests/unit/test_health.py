"""When an engine is given up, when a model must prove itself, and how a process ends then."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from switchtower.errors import AdapterCorrupt, BaseModelError
from workers import health
from workers.health import Checkup, expect_health, give_up, trouble


def loop(died=False, stuck_s=0.0):
    return SimpleNamespace(died=died, meter=SimpleNamespace(stuck_for=lambda: stuck_s))


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (loop(), ""),
        (loop(stuck_s=30), ""),
        (loop(stuck_s=31), "a step of the model has taken 31 s"),
        (loop(died=True), "the engine's thread has died"),
    ],
)
def test_what_is_wrong_with_an_engine(engine, why):
    assert trouble(engine, 30) == why


@pytest.mark.parametrize(
    ("error", "said"),
    [(AdapterCorrupt("a is damaged"), r"\(AdapterCorrupt: a is damaged\)"), (OSError("x"), r"\(OSError\)")],
)
def test_a_model_that_does_not_answer_is_named_with_the_reason(error, said):
    """A foreign exception's words may quote a prompt."""

    def fail():
        raise error

    with pytest.raises(BaseModelError, match=f"small cannot answer a single token, .* {said}"):
        expect_health(SimpleNamespace(health_check=fail), "small")


def test_a_model_that_answers_is_healthy():
    asked = []
    expect_health(SimpleNamespace(health_check=lambda: asked.append(1)), "small")
    assert asked == [1]


# -- checking again -------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(health.time, "monotonic", lambda: made.now)
    return made


def test_an_idle_model_is_checked_every_minute(clock):
    checkup, checked = Checkup(), []
    for second in range(200):
        clock.now = second
        if checkup.due(steps=7):
            checked.append(second)
    assert checked == [60, 120, 180]


def test_a_busy_model_is_not_checked(clock):
    checkup = Checkup()
    for second in range(200):
        clock.now = second
        assert not checkup.due(steps=second)


def test_after_a_strange_error_a_model_is_checked_at_once_and_once(clock):
    checkup = Checkup()
    assert not checkup.due(steps=1)
    checkup.suspect = True
    assert checkup.due(steps=1)
    assert not checkup.due(steps=1)


# -- ending ---------------------------------------------------------------------------------------


class Ended(BaseException):
    """The process would be gone."""


@pytest.fixture
def process(monkeypatch):
    """A worker's process that notes what is done to it, with this many steps held."""
    made = SimpleNamespace(did=[], held=1, stop=None)

    def end(code):
        made.did.append(("exit", code))
        raise Ended

    monkeypatch.setattr(health.os, "_exit", end)
    monkeypatch.setattr(health.state, "should_stop", None)
    monkeypatch.setattr(health.worker_shutdown, "connect", lambda work, weak: made.did.append("connected"))
    monkeypatch.setattr(health, "idle", lambda: True)
    monkeypatch.setattr(health.time, "sleep", lambda _: made.did.append(("waited", health.state.should_stop)))
    halt = SimpleNamespace(stop=lambda: made.did.append("left the queues"))
    line = SimpleNamespace(soft_shutdown_s=0.2)

    class Keeper:
        @property
        def count(self):
            return made.held

    made.runtime = SimpleNamespace(halt=halt, settings=SimpleNamespace(line=line), keeper=Keeper())

    def abandon():
        made.did.append("abandoned")
        if made.raises:
            raise made.raises
        if not made.stuck:
            made.held = 0

    made.stuck, made.raises = False, None
    made.loop = SimpleNamespace(abandon=abandon)
    return made


@pytest.mark.parametrize("stuck", [False, True])
def test_the_queues_are_left_before_jobs_are_handed_back_and_the_end_comes_in_any_case(process, stuck):
    """Celery is asked to stop once nothing is held; where something stays, only the time is up."""
    process.stuck = stuck
    with pytest.raises(Ended):
        give_up(process.runtime, process.loop, "it hangs")
    order = [one for one in process.did if one not in {"connected", ("waited", None)}]
    assert order == ["left the queues", "abandoned", ("waited", os.EX_SOFTWARE), ("exit", os.EX_SOFTWARE)]
    assert (process.held == 0) is not stuck


@pytest.mark.parametrize("raises", [RuntimeError("deque mutated during iteration"), KeyError("a bug")])
def test_whatever_goes_wrong_on_the_way_the_end_comes(process, raises):
    """A worker that has left its queue and stays would be of no use to anybody."""
    process.raises = raises
    with pytest.raises(Ended):
        give_up(process.runtime, process.loop, "it hangs")
    assert process.did[-1] == ("exit", os.EX_SOFTWARE)
