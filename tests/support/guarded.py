"""A line whose every process is a user of its own on the broker, and nobody else gets in."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from security.acl.fence import fence
from security.acl.roles import ADMIN, CLIENT, CONTROLLER, OPERATOR, Line
from security.lockdown import status, throwaway
from security.lockdown.controller import Controller
from switchtower.client import Client
from switchtower.connection import connect
from switchtower.settings import Settings
from tests.support import collector
from tests.support.harness import ECHO, Harness, harness
from tests.support.wait import until
from workers.system import wait_ready

LINE = Line(extra_queues=(collector.QUEUE,))


@dataclass
class Guarded:
    """The line as its administrator sees it, and the way in for each role."""

    admin: Harness
    urls: dict[str, str]
    _clients: dict[str, Client] = field(default_factory=dict)

    def settings(self, role: str) -> Settings:
        """The settings of a process of this role."""
        broker = self.admin.settings.broker.model_copy(update={"url": self.urls[role]})
        return self.admin.settings.model_copy(update={"broker": broker})

    def client(self, role: str = CLIENT) -> Client:
        if role not in self._clients:
            self._clients[role] = Client(self.settings(role))
        return self._clients[role]

    def redis(self, role: str) -> Redis:
        return self.client(role).ledger.redis

    def start(self, *kinds: str, tokens: int = 3, pause: float = 0.0) -> None:
        """Start workers, each as its own user, and wait until they consume."""
        for kind in kinds:
            command = [*ECHO, f"--tokens={tokens}", f"--pause={pause}"] if kind == "gpu" else []
            self.admin.supervisor.start(kind, *command, SWITCHTOWER_BROKER__URL=self.urls[kind])
        wait_ready(self.admin.settings, self.admin.supervisor, kinds)

    def start_collector(self) -> None:
        """Start the user's own worker, as the user of its queue."""
        command = (sys.executable, "-m", "tests.support.collector")
        url = self.urls[collector.QUEUE]
        self.admin.supervisor.start(collector.QUEUE, *command, SWITCHTOWER_BROKER__URL=url)
        until(lambda: self.admin.redis.exists(f"_kombu.binding.{collector.QUEUE}"), "the collector to consume")

    def release(self) -> None:
        """Release the lockdown as the operator."""
        verdict = throwaway.release(self.redis(OPERATOR), self.settings(OPERATOR), "the drill is over")
        assert verdict.outcome == "released", verdict.text

    def end(self) -> None:
        for client in (*self._clients.values(), self.admin.client):
            client.close()


@contextmanager
def guarded(home: Path) -> Iterator[Guarded]:
    """A broker with a user for every role and no other, and a controller that holds the line open."""
    with harness(home, controller=False) as line:
        with connect(line.settings.broker) as opened:
            urls = fence(opened, home / "acl", _address(line.settings.broker.url), LINE.extra_queues)
        broker = line.settings.broker.model_copy(update={"url": urls[ADMIN], "extra_queues": LINE.extra_queues})
        made = Guarded(Harness(line.settings.model_copy(update={"broker": broker}), line.supervisor), urls)
        try:
            with _controlled(made):
                yield made
        finally:
            line.supervisor.stop()
            made.end()


def _address(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


@contextmanager
def _controlled(made: Guarded) -> Iterator[None]:
    controller = Controller(made.settings(CONTROLLER))
    thread = threading.Thread(target=controller.run, name="controller", daemon=True)
    thread.start()
    try:
        until(lambda: not status(made.admin.redis, made.admin.ring).locked, "the controller to open the line")
        yield
    finally:
        controller.stop()
        thread.join(10)
