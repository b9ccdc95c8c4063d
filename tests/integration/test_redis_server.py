"""The same round trip on Redis itself: Valkey is the embedded default, Redis is the other server."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NotYet

from switchtower import State, keys
from switchtower.settings import Broker, Settings, load
from tests.conftest import expect_no_leak
from tests.support.harness import LINE, LOCKDOWN, Harness, controlled, environment
from tests.support.wait import until
from workers.embedded import open_first_time
from workers.supervisor import Supervisor

SERVER = shutil.which("redis-server")
NEEDED = 7


def version() -> int:
    """The major version of the installed server."""
    said = subprocess.run([SERVER or "true", "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"v=(\d+)", said)[1])


pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="no redis-server is installed"),
    pytest.mark.skipif(SERVER is not None and version() < NEEDED, reason=f"redis-server is older than {NEEDED}"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(redis: Redis) -> bool:
    try:
        return redis.ping()
    except NotYet:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A redis-server of our own; yields its address."""
    port = free_port()
    command = [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with Redis(port=port) as redis:
        until(lambda: answers(redis), "the server to answer")
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(10)


@pytest.fixture
def line(server: str, tmp_path: Path) -> Iterator[Harness]:
    """The line on that server."""
    settings = on(server, tmp_path)
    made = Harness(settings, Supervisor(settings, tmp_path / "logs", environment(LINE, LOCKDOWN)))
    try:
        with controlled(settings):
            made.start("guardrail", "router", "gpu", "upkeep")
            yield made
            expect_no_leak(made)
    finally:
        made.end()


def on(server: str, home: Path) -> Settings:
    keys.create(home / "keys")
    found = load()
    security = found.security.model_copy(update={"keys_directory": home / "keys"})
    tiers = {"line": LINE, "lockdown": LOCKDOWN, "broker": Broker(url=server), "security": security}
    settings = found.model_copy(update={"home": home, **tiers})
    open_first_time(settings)
    return settings


def test_a_round_trip(line):
    jobs = line.client.submit_many(["one", "two", "three"])
    assert [line.client.result(job, timeout=30).text for job in jobs] == ["one", "two", "three"], line.logs()
    assert "".join(line.client.stream(jobs[0])) == "echo echo echo "
    assert {line.client.status(job).state for job in jobs} == {State.DONE}
