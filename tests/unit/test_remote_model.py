"""What a worker with a model server announces: what the server has, under our names."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from pydantic import SecretStr

from switchtower.errors import ConfigurationError
from switchtower.models import Capability, Privacy, Provider
from switchtower.settings import Cost, Local, Settings
from tests.support.openai_server import BASE, openai_server
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
