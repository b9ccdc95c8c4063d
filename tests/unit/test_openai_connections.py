"""How the provider connects: no proxy, a vouched-for server, connections of its own after a fork."""

from __future__ import annotations

import os
import threading

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from switchtower.errors import ModelUnavailable
from switchtower.models import Sampling
from tests.support.openai_server import BASE, Reply, openai_server
from tests.support.tls import Authority, terminator
from tests.support.wait import until
from workers.providers.openai_compatible import OpenAICompatible


@pytest.fixture
def server():
    with openai_server() as made:
        yield made


@pytest.fixture
def provider(server):
    made = OpenAICompatible(server.url, BASE, timeout_s=5)
    yield made
    made.close()


def ask(provider, stop=lambda: None, on_token=lambda _: None):
    return provider.generate([{"role": "user", "content": "Who are you?"}], None, Sampling(), on_token, stop)


def test_neither_a_proxy_nor_an_account_of_the_environment_is_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-cloud")
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    provider = OpenAICompatible(server.url, BASE)
    assert ask(provider).finish_reason == "stop"
    provider.close()
    assert not [value for head in server.heads for value in head.values() if "sk-of" in value]
    assert not {"openai-organization", "openai-project"} & server.heads[0].keys()


def test_a_server_behind_tls_must_be_vouched_for_by_an_authority_of_the_system(server, monkeypatch, tmp_path):
    authority = Authority(tmp_path)
    with terminator(server.port, authority.issue("server")) as port:
        url = f"https://127.0.0.1:{port}/v1"
        stranger = OpenAICompatible(url, BASE)
        with pytest.raises(ModelUnavailable, match="ConnectError") as error:
            ask(stranger)
        assert not error.value.begun
        stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        known = OpenAICompatible(url, BASE)
        server.replies.append(Reply(hangs_after=1))
        begun = threading.Event()
        answer = ask(known, stop=lambda: "cancelled" if begun.is_set() else None, on_token=lambda _: begun.set())
        assert answer.finish_reason == "cancelled"
        until(lambda: server.hung_up == [BASE], "the end of the connection")
        assert ask(known).finish_reason == "stop"
        known.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_connections_of_its_own(server, provider):
    assert ask(provider).finish_reason == "stop"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, ask(provider).text.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read().startswith(BASE)
    assert server.connections == 2
    assert ask(provider).finish_reason == "stop"
