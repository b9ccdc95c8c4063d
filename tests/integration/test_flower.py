"""Flower on a real line: it sees every task, and never a word of what a task carries."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import pytest
from celery import Celery

from switchtower import State, UserRequest
from switchtower.queues import GENERATE_LOCAL, REVIEW, ROUTE, SCREEN, step_id
from switchtower.settings import Flower
from tests.support.harness import Harness, harness
from tests.support.wait import until
from workers.system import _start_flower

MARKER = "quibblethorn marzipan lighthouse"
PASSWORD = "only-for-this-test"  # the same in every test process
KINDS = ("guardrail", "router", "gpu", "upkeep")
"""The workers of this line, each named like its queue."""
WAIT_S = 30
T = TypeVar("T")


@dataclass(frozen=True)
class Monitor:
    """Flower's address and the way to ask it."""

    line: Harness
    base: str

    def get(self, path: str, credentials: str | None = f"operator:{PASSWORD}") -> str:
        """A page's text; raises `HTTPError` where it is refused."""
        request = urllib.request.Request(self.base + path)  # noqa: S310 - a loopback address of ours
        if credentials is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return str(response.read().decode())

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def status(self, path: str, credentials: str | None) -> int:
        """The HTTP status of an answer; an error's too."""
        try:
            self.get(path, credentials)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)
        return 200


def eventually(look: Callable[[], T], what: Callable[[], str]) -> T:
    """What `look` returns as soon as it returns something."""
    return until(look, what, WAIT_S)


@pytest.fixture(scope="module")
def monitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """A line whose model takes its time, and Flower beside it, started as `switchtower up` starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with harness(tmp_path_factory.mktemp("flower")) as line:
        settings = line.settings.model_copy(update={"flower": Flower(port=port, password=PASSWORD)})
        _start_flower(line.supervisor, settings, settings.broker.url)
        line.start("guardrail", "router", "upkeep")
        line.start("gpu", tokens=40, pause=0.1)
        made = Monitor(line, f"http://127.0.0.1:{port}")
        eventually(lambda: _answers(made), line.logs)
        # Flower has asked for task events; the echo's worker obeys like the others, but logs warnings only.
        eventually(lambda: line.said("Events of group {task} enabled") >= len(KINDS) - 1, line.logs)
        yield made


def _answers(monitor: Monitor) -> bool:
    """Whether Flower is up and has heard of every worker."""
    try:
        workers = monitor.json("/api/workers?refresh=1")
    except (urllib.error.URLError, ConnectionError):
        return False
    consumed = {queue["name"] for worker in workers.values() for queue in worker.get("active_queues", ())}
    return consumed == set(KINDS)


@pytest.fixture(scope="module")
def job(monitor: Monitor) -> str:
    """A job in flight: its generate step runs while Flower is asked."""
    job = monitor.line.client.submit(UserRequest(prompt=MARKER))
    eventually(
        lambda: (
            monitor.line.client.status(job).station == GENERATE_LOCAL
            and monitor.line.client.status(job).state is State.RUNNING
        ),
        monitor.line.logs,
    )
    return job


def test_a_running_step_shows_its_name_and_not_its_payload(monitor: Monitor, job: str) -> None:
    gpu = next(name for name in monitor.json("/api/workers") if name.startswith("gpu-"))
    seen = monitor.get(f"/api/workers?refresh=1&workername={quote(gpu)}")
    page = monitor.get(f"/worker/{quote(gpu)}")

    assert [task["name"] for task in json.loads(seen)[gpu]["active"]] == [GENERATE_LOCAL]
    assert MARKER not in seen
    assert "payload" not in seen
    assert MARKER not in page


def test_a_remote_inspect_shows_no_payload_either(monitor: Monitor, job: str) -> None:
    with Celery(broker=monitor.line.settings.broker.url, set_as_current=False) as anybody:
        inspect = anybody.control.inspect(timeout=2)
        running = eventually(lambda: _requests(inspect.active()), monitor.line.logs)
        found = inspect.query_task([one["id"] for one in running])

    assert GENERATE_LOCAL in {one["name"] for one in running}
    assert MARKER not in json.dumps([running, found])


def _requests(replies: dict[str, list[dict[str, Any]]] | None) -> list[dict[str, Any]]:
    return [one for requests in (replies or {}).values() for one in requests]


def test_every_task_of_a_job_is_listed_without_its_text(monitor: Monitor, job: str) -> None:
    assert monitor.line.client.result(job, timeout=WAIT_S).text == MARKER
    steps = {step_id(job, wire) for wire in (SCREEN, ROUTE, REVIEW)}
    eventually(lambda: _succeeded(monitor, steps), monitor.line.logs)

    columns = {"draw": 1, "start": 0, "length": 100, "order[0][column]": 0, "columns[0][data]": "name"}
    pages = ["/api/tasks", "/tasks", "/metrics", f"/tasks/datatable?{urlencode(columns)}"]
    pages += [f"{path}{step}" for step in steps for path in ("/task/", "/api/task/info/")]
    shown = {path: monitor.get(path) for path in pages}

    assert [path for path, text in shown.items() if MARKER in text or "marzipan" in text] == []
    assert all(step in shown["/api/tasks"] for step in steps)


def _succeeded(monitor: Monitor, steps: set[str]) -> bool:
    """Whether Flower heard that each of these tasks ended well."""
    tasks = monitor.json("/api/tasks")
    return all(tasks.get(step, {}).get("state") == "SUCCESS" for step in steps)


def test_the_result_cannot_be_fetched_through_flower(monitor: Monitor, job: str) -> None:
    assert monitor.status(f"/api/task/result/{step_id(job, REVIEW)}", f"operator:{PASSWORD}") != 200


def test_queues_and_workers_are_listed(monitor: Monitor) -> None:
    queues = monitor.json("/api/queues/length")["active_queues"]
    kinds = {name.split("-")[0] for name in monitor.json("/api/workers")}

    assert {queue["name"] for queue in queues} >= set(KINDS)
    assert kinds == set(KINDS)


def test_the_brokers_password_is_not_shown(monitor: Monitor) -> None:
    secret = urlsplit(monitor.line.settings.broker.url).password
    shown = [monitor.get("/api/workers?refresh=1"), monitor.get("/broker"), monitor.get("/workers")]
    shown += [monitor.get(f"/worker/{quote(name)}") for name in json.loads(shown[0])]

    assert secret
    assert [text for text in shown if secret in text] == []


@pytest.mark.parametrize("path", ["/", "/tasks", "/api/tasks", "/api/workers", "/api/queues/length", "/broker"])
@pytest.mark.parametrize("credentials", [None, "operator:wrong", "stranger:" + PASSWORD])
def test_nobody_sees_tasks_without_the_password(monitor: Monitor, path: str, credentials: str | None) -> None:
    assert monitor.status(path, credentials) == 401
