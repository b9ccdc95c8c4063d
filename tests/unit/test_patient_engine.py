"""Jobs whose server is known to be down: they wait a while where they are, and can be stopped there."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from switchtower.errors import LockdownActive, ModelUnavailable
from switchtower.models import Sampling
from tests.support.openai_server import BASE, openai_server
from workers.patience import PatientEngine
from workers.providers.openai_compatible import OpenAICompatible

ASKED = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def server():
    with openai_server() as made:
        yield made


@pytest.fixture
def provider(server):
    made = OpenAICompatible(server.url, BASE)
    yield made
    made.close()


def ask(engine, stop=lambda: None):
    return engine.generate(ASKED, None, Sampling(), lambda _: None, stop)


def test_a_job_waits_until_the_server_is_up(server, provider):
    engine, looked = PatientEngine(provider, patience_s=30), []

    def stop():
        looked.append(len(server.requests))
        if len(looked) == 2:
            engine.up.set()

    assert ask(engine, stop).finish_reason == "stop"
    assert looked[:2] == [0, 0]


def test_a_job_that_has_waited_long_enough_is_handed_back(server, provider):
    with pytest.raises(ModelUnavailable) as error:
        ask(PatientEngine(provider, patience_s=0.1))
    assert not error.value.begun
    assert server.requests == []


def test_a_job_that_waits_can_be_stopped(provider):
    engine, locked = PatientEngine(provider, patience_s=30), threading.Event()

    def stop():
        if locked.is_set():
            raise LockdownActive
        locked.set()

    with pytest.raises(LockdownActive):
        ask(engine, stop)
    assert ask(engine, lambda: "cancelled").finish_reason == "cancelled"
