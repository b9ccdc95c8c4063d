"""Fixtures: a line of real workers for a whole module, a bare broker, and the check that no key leaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from switchtower.jobs import FLAG
from tests.support.cli import CommandLine
from tests.support.harness import Harness, harness
from tests.support.keys import leaked
from tests.support.wait import until

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("line", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("line")


def expect_no_leak(made: Harness) -> None:
    """No key without an end is left once the messages that are still on their way have arrived."""
    until(lambda: not leaked(made.redis), f"the end of these keys: {leaked(made.redis)}", seconds=10)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """The whole line with an echo in the model's place; no Redis key may outlive its purpose."""
    with harness(tmp_path_factory.mktemp("line")) as made:
        made.start("guardrail", "router", "gpu", "upkeep")
        yield made
        expect_no_leak(made)


@pytest.fixture(scope="module")
def slow_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """The same, with an echo that takes two seconds: time enough to stop it half way."""
    with harness(tmp_path_factory.mktemp("slow")) as made:
        made.start("guardrail", "router", "gpu", "upkeep", tokens=100, pause=0.02)
        yield made
        expect_no_leak(made)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A broker with keys and an open flag, and no worker."""
    with harness(tmp_path_factory.mktemp("broker")) as made:
        yield made
        expect_no_leak(made)


@pytest.fixture(scope="module")
def quick_broker_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """One broker without workers for a whole module; tests use it through `quick_broker`."""
    with harness(tmp_path_factory.mktemp("quick"), controller=False) as made:
        yield made


@pytest.fixture
def quick_broker(quick_broker_of_module: Harness) -> Iterator[Harness]:
    """That broker, empty but for a flag: whoever knows these bytes has verified them, as far as the ledger is told."""
    made = quick_broker_of_module
    made.redis.flushdb()
    made.redis.set(FLAG, "the flag that was verified")
    yield made
    expect_no_leak(made)


@pytest.fixture
def switchtower(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line: `switchtower("ask", "Hello")`."""
    return CommandLine(monkeypatch, capsys)
