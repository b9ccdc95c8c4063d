"""What a worker with a model server announces: what the server has, under our names."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from pydantic import SecretStr

from switchtower.errors import ConfigurationError
from switchtower.models import Capability, Privacy, Provider
from switchtower.settings import Cost, Local, Settings
from tests.support.openai_server import BASE, Reply, openai_server
from workers.remote import RemoteModel

INTENT = "intent-classification-v1"


@pytest.fixture
def server():
    with openai_server() as made:
        yield made


@pytest.fixture
def remote(server):
    made = []

    def make(**local):
        cost = Cost(local_cost_per_token=0.5)
        made.append(RemoteModel(Settings(local=Local(server_url=server.url, **local), cost=cost)))
        return made[-1]

    yield make
    for one in made:
        one.server.close()


def named(model):
    return {card.name: card for card in model.cards()}


def test_the_base_and_the_adapters_that_the_server_has(server, remote, caplog):
    server.models |= {INTENT: {}, "a-strangers-model": {}}
    with caplog.at_level(logging.WARNING):
        cards = named(remote())
    assert set(cards) == {BASE, INTENT}
    intent = cards[INTENT]
    assert (intent.provider, intent.privacy, intent.adapter) == (Provider.LOCAL, Privacy.MAXIMUM, INTENT)
    assert (intent.capabilities, intent.cost_per_token, intent.context_tokens) == ({Capability.INTENT}, 0.5, 4096)
    assert intent.system_prompt
    assert "server lacks ambiguity-aware-v1" in caplog.text


def test_what_is_missing_is_said_once(server, remote, caplog):
    model = remote()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            model.cards()
    assert caplog.text.count("server lacks") == 1
    server.models[INTENT] = {}
    with caplog.at_level(logging.WARNING):
        model.cards()
    assert caplog.text.count("server lacks") == 2


def test_the_base_keeps_its_name_whatever_the_server_calls_it(server, remote):
    server.models = {"org/Smol": {}}
    model = remote(server_model="org/Smol", context_size=512)
    assert named(model)[BASE].context_tokens == 512
    assert model.server.model == "org/Smol"


def test_adapters_of_another_base_are_left_out(server, remote):
    server.models = {"big-8b": {}, INTENT: {}}
    assert set(named(remote(base_model_path="/only/on/the/server/Big-8B"))) == {"big-8b"}


def test_the_key_is_sent(server, remote):
    server.key = "sesame"
    assert named(remote(server_key=SecretStr("sesame")))
    with pytest.raises(ConfigurationError, match="401"):
        remote().cards()


def test_a_server_outside_the_house_is_refused():
    outside = "http://vllm.example.com/v1"
    with pytest.raises(ConfigurationError, match="private texts must not leave"):
        RemoteModel(Settings(local=Local(server_url=outside)))
    RemoteModel(Settings(local=Local(server_url=outside, server_is_private=True))).server.close()


# -- with each heartbeat --------------------------------------------------------------------------


@pytest.fixture
def runtime():
    return SimpleNamespace(away=threading.Event(), keeper=SimpleNamespace(count=2))


def wanting(state):
    return SimpleNamespace(wanted=lambda: state)


def told(model, runtime):
    """What it tells the registry: which models are loaded, and the state of the whole."""
    vitals = model._vitals(runtime)
    return {one.card.name: one.loaded for one in model._announcements(runtime)}, vitals.state, vitals.trouble


def test_a_server_that_is_up_is_asked_for_one_token_and_announced(server, remote, runtime):
    model = remote()
    for _ in range(3):
        model._look(runtime, wanting("loaded"))
    assert [request["max_tokens"] for request in server.requests] == [1]
    assert told(model, runtime) == ({BASE: True}, "loaded", model._said)
    assert (model._vitals(runtime).rows, model._vitals(runtime).gpu_bytes) == (2, None)


def test_a_server_that_cannot_answer_one_token_is_not_announced(server, remote, runtime):
    model = remote()
    server.replies.append(Reply(status=500))
    model._look(runtime, wanting("loaded"))
    cards, state, trouble = told(model, runtime)
    assert (cards, state) == ({}, "unloaded")
    assert "500" in trouble
    model._look(runtime, wanting("loaded"))
    assert told(model, runtime)[:2] == ({BASE: True}, "loaded")


def test_an_operator_takes_the_server_out_of_the_line_and_back(server, remote, runtime):
    """It is still known, and leaves its queue to others."""
    model = remote()
    model._look(runtime, wanting("loaded"))
    model._look(runtime, wanting("unloaded"))
    assert told(model, runtime)[:2] == ({BASE: False}, "unloaded")
    assert (runtime.away.is_set(), model.engine.up.is_set()) == (True, False)
    model._look(runtime, wanting("loaded"))
    assert (runtime.away.is_set(), model.engine.up.is_set()) == (False, True)
