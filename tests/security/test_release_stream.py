"""What leaves for a job's stream while a model writes: words that were judged, and nothing that still waits."""

from __future__ import annotations

import pytest

from switchtower.errors import GuardrailRefused, JobMoved, LockdownActive, WorkerStopping
from switchtower.jobs import ALERTS
from switchtower.messages import UserRequest
from tasks.release import _onset
from tests.support.scene import Player, Scene, Stage

SECRET = "glpat\u002dq8Zr3TnVb6Ym1Kc9Wd4X"
MAIL = "ada@example.org"


@pytest.fixture
def scene(quick_broker):
    return Scene(quick_broker.redis, UserRequest(prompt=f"Write to {MAIL}."), redact="cloud")


def said(scene: Scene) -> str:
    return "".join(scene.gpu.out)


def test_an_answer_leaves_word_by_word(scene):
    scene.generate(Player("A switch tower stood beside the line.", 1))
    assert scene.gpu.out[-3:] == ["beside ", "the ", "line."]
    assert said(scene) == "A switch tower stood beside the line."


@pytest.mark.parametrize("pieces", [1, 3, 7, 1000])
def test_of_a_secret_nothing_leaves_however_it_comes(scene, pieces):
    with pytest.raises(GuardrailRefused):
        scene.generate(Player(f"Use this token here: {SECRET} and be happy.", pieces))
    assert said(scene).rstrip(": ") in {"Use this token here", ""}


def test_a_secret_at_the_very_end_is_refused_before_it_leaves(scene):
    with pytest.raises(GuardrailRefused):
        scene.generate(Player(f"It is here, {SECRET}"))
    assert said(scene) == "It is here, "


def test_a_refusal_in_the_stream_raises_an_alert_that_quotes_nothing(scene):
    with pytest.raises(GuardrailRefused) as refused:
        scene.generate(Player(f"Here: {SECRET} "))
    assert SECRET not in str(refused.value)
    [(_, alert)] = scene.gpu.redis.xrange(ALERTS)
    assert SECRET not in alert["e"]
    assert scene.request.job in alert["e"]


class Interrupted(Player):
    """A model that something happens to while it says its last word."""

    def generate(self, messages, adapter, sampling, on_token, stop, output=None):
        on_token("One two thr")
        self.meanwhile()
        return super().generate(messages, adapter, sampling, lambda _: None, lambda: None)


@pytest.mark.parametrize(
    ("what", "error"),
    [({"locked": True}, LockdownActive), ({"stopping": True}, WorkerStopping)],
)
def test_what_was_held_does_not_leave_when_the_worker_must_stop(scene, what, error):
    model = Interrupted()
    model.meanwhile = lambda: vars(scene.gpu.halt).update(what)
    with pytest.raises(error):
        scene.generate(model)
    assert said(scene) == "One two "


def test_what_was_held_does_not_leave_when_the_job_was_cancelled(scene, monkeypatch):
    def moved(*_: object, **__: object) -> None:
        raise JobMoved

    model = Interrupted()
    model.meanwhile = lambda: monkeypatch.setattr(Stage, "emit", moved)
    with pytest.raises(JobMoved):
        scene.generate(model)
    assert said(scene) == "One two "


def test_placeholders_in_a_stream_become_values_however_they_are_cut(quick_broker):
    for pieces in range(1, 12):
        scene = Scene(quick_broker.redis, UserRequest(prompt=f"Write to {MAIL}, or to eve@example.net."))
        scene.generate(Player("{} Yes, {}", pieces))
        assert said(scene) == f"{scene.request.prompt} Yes, {scene.request.prompt}"
        assert all("[" not in piece for piece in scene.gpu.out)


def test_the_judge_of_a_stream_sees_placeholders_and_no_values(quick_broker):
    """A password that the user has sent may come back to them, though no model may say one."""
    scene = Scene(quick_broker.redis, UserRequest(prompt="Use password = hunter2-hunter2 for it."))
    scene.generate(Player())
    assert said(scene) == scene.request.prompt
    with pytest.raises(GuardrailRefused):
        scene.generate(Player("password = hunter3-hunter3"))


def test_a_rule_whose_beginnings_are_not_known_is_named_and_makes_all_wait(caplog):
    onset = _onset((("plain", "password is"), ("odd", r"odd\C")))
    assert not onset.known
    assert caplog.text.strip().endswith("are not known: odd")
