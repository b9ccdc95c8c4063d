"""TLS to the broker: every part of the line speaks it, and none of them trusts a certificate that it cannot verify."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kombu import pools
from pydantic import ValidationError

from security.lockdown import engage
from switchtower import State
from switchtower.aio import AsyncClient
from switchtower.app import create_app
from switchtower.client import Client
from switchtower.connection import connect, reachable, refuse_early
from switchtower.errors import BrokerDenied, BrokerUnavailable, ConfigurationError
from switchtower.settings import Broker, load
from switchtower.tls import tls_options
from tests.support.harness import ECHO, Harness, harness
from tests.support.tls import HERE, Authority, terminator
from tests.support.wait import until

JOB = "01900000-0000-7000-8000-000000000001"
ADVICE = {
    "nobody to vouch": "ca_file",
    "another to vouch": "ca_file",
    "expired": "expired",
    "another host": "not valid for",
    "no certificate": "certificate_file and broker.key_file",
    "another's certificate": "certificate",
}


@dataclass(frozen=True)
class Front:
    """A broker behind TLS, in every condition that a certificate can be in."""

    line: Harness
    brokers: dict[str, Broker]

    def environment(self, name: str) -> dict[str, str]:
        said = self.brokers[name].model_dump(include={"url", "ca_file", "certificate_file", "key_file"})
        return {f"SWITCHTOWER_BROKER__{field.upper()}": str(value) for field, value in said.items() if value}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A line without workers, TLS before its broker, and settings that are right or wrong in one thing each."""
    folder = tmp_path_factory.mktemp("tls")
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    server, mine, theirs = ours.issue("server"), ours.issue("mine"), others.issue("theirs")
    late, elsewhere = ours.issue("late", age=timedelta(days=3)), ours.issue("elsewhere", "elsewhere.example")
    with harness(folder / "home") as line, ExitStack() as stack:
        address = urlsplit(line.settings.broker.url)

        def broker(pair, clients=None, **files):
            port = stack.enter_context(terminator(address.port, pair, clients))
            return Broker(url=f"rediss://:{address.password}@{HERE}:{port}/0", **files)

        trusting = {"ca_file": ours.file}
        brokers = {
            "good": broker(server, **trusting),
            "mutual": broker(server, ours.file, **trusting, certificate_file=mine.certificate, key_file=mine.key),
            "nobody to vouch": broker(server),
            "another to vouch": broker(server, ca_file=others.file),
            "expired": broker(late, **trusting),
            "another host": broker(elsewhere, **trusting),
            "no certificate": broker(server, ours.file, **trusting),
            "another's certificate": broker(
                server, ours.file, **trusting, certificate_file=theirs.certificate, key_file=theirs.key
            ),
        }
        yield Front(line, brokers)


@pytest.fixture(autouse=True)
def _no_connection_of_others():
    """Kombu's pools know a connection by its URL alone."""
    pools.reset()


def with_broker(front, name):
    return front.line.settings.model_copy(update={"broker": front.brokers[name]})


def by_client(config):
    with Client(config) as client:
        client.status(JOB)


def by_kombu(config):
    with reachable(), create_app(config).connection_for_write() as connection:
        connection.connect()


def by_backend(config):
    with create_app(config).backend.client as client:
        client.ping()


def by_asyncio(config):
    async def ask():
        async with AsyncClient(config) as client:
            await client.status(JOB)

    asyncio.run(ask())


@pytest.mark.parametrize("name", ADVICE)
@pytest.mark.parametrize("way", [by_client, by_asyncio])
def test_what_is_wrong_with_a_certificate_is_said(front, name, way):
    with pytest.raises(BrokerUnavailable, match=ADVICE[name]):
        way(with_broker(front, name))


@pytest.mark.parametrize("name", ["nobody to vouch", "another host", "no certificate"])
def test_celery_trusts_no_other(front, name):
    """Kombu by itself would verify nothing."""
    with pytest.raises(BrokerUnavailable, match=ADVICE[name]):
        by_kombu(with_broker(front, name))


@pytest.mark.parametrize("name", ADVICE)
def test_the_result_backend_trusts_no_other(front, name):
    with pytest.raises(BrokerUnavailable, match=ADVICE[name]), reachable():
        by_backend(with_broker(front, name))


@pytest.mark.parametrize("name", ADVICE)
def test_a_worker_does_not_wait_for_what_time_cannot_mend(front, name):
    with pytest.raises(BrokerUnavailable, match=ADVICE[name]):
        refuse_early(front.brokers[name])


def test_a_worker_waits_for_a_broker_that_is_merely_away():
    refuse_early(Broker(url="redis://127.0.0.1:1/0"))


def test_a_worker_with_the_wrong_authority_says_so_and_ends(front):
    environment = {"SWITCHTOWER_SECURITY__KEYS_DIRECTORY": str(front.line.settings.security.keys_directory)}
    command = [sys.executable, "-m", "switchtower", "worker", "upkeep"]
    said = {"PATH": "", "COLUMNS": "500"} | environment | front.environment("another to vouch")
    ended = subprocess.run(command, env=said, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "BrokerUnavailable: the broker's certificate is not accepted" in ended.stderr


def test_a_wrong_password_is_told_from_a_wrong_certificate(front):
    good = front.brokers["good"]
    wrong = good.model_copy(update={"url": good.url.replace("rediss://:", "rediss://gpu:")})
    with pytest.raises(BrokerDenied, match="invalid username-password"):
        refuse_early(wrong)


def test_the_whole_line_runs_over_mutual_tls(front):
    """Queues, ledger, results, and the channel on which a lockdown is pushed."""
    line, said = front.line, front.environment("mutual")
    for kind in ("guardrail", "router", "upkeep"):
        line.supervisor.start(kind, **said)
    line.supervisor.start("gpu", *ECHO, "--tokens=10", "--pause=0.05", **said)
    with Client(with_broker(front, "mutual")) as client:
        job = client.submit("Hello, TLS")
        assert client.result(job, timeout=60).text == "Hello, TLS", line.logs()
        assert "".join(client.stream(job)) == "echo " * 10
        assert client.signature("And Celery").apply_async().get(timeout=30)["wire"] == "switchtower.result"
        engage(client.ledger.redis, "a drill", "test")
        until(lambda: line.said("locked down") >= 2, "the workers to halt")
        later = client.submit("Later")
        assert client.status(later).state is State.QUEUED
        line.release()
        assert client.result(later, timeout=30).text == "Later"


# -- settings -------------------------------------------------------------------------------------------


def test_verification_cannot_be_switched_off():
    for query in ("ssl_cert_reqs=none", "ssl_check_hostname=false", "db=1&ssl_cert_reqs=none"):
        with pytest.raises(ValidationError, match="not in the URL"):
            Broker(url=f"rediss://host/0?{query}")
    assert tls_options(Broker(url="rediss://host/0"))["ssl_check_hostname"] is True


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "redis://host/0", "ca_file": "ca.pem"}, "does not begin with rediss"),
        ({"url": "rediss://host/0", "certificate_file": "mine.pem"}, "go together"),
        ({"url": "rediss://host/0", "key_file": "mine.key"}, "go together"),
        ({"url": "file:///nowhere/broker.url"}, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_an_error(fields, said):
    with pytest.raises(ValidationError, match=said):
        Broker(**fields)


def test_files_that_are_no_certificates_are_named(tmp_path):
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    pair = Authority(tmp_path).issue("mine")
    for broker in (
        Broker(url="rediss://host/0", ca_file=tmp_path / "missing.pem"),
        Broker(url="rediss://host/0", ca_file=nonsense),
        Broker(url="rediss://host/0", certificate_file=nonsense, key_file=pair.key),
        Broker(url="rediss://host/0", certificate_file=pair.certificate, key_file=nonsense),
    ):
        with pytest.raises(ConfigurationError, match=r"missing\.pem|nonsense\.pem"):
            connect(broker)


def test_the_url_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = tmp_path / "a folder" / "gpu.url"
    secret.parent.mkdir()
    secret.write_text("redis://gpu:secret@host:1/0\n")
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", secret.as_uri())
    assert load().broker.url == "redis://gpu:secret@host:1/0"
