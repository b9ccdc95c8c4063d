"""The embedded system: broker, services, one worker of each kind, and Flower, up when this says so and down after."""

from __future__ import annotations

import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from rich.console import Console

from security.acl.fence import fence
from security.acl.roles import MONITOR, OPERATOR
from security.lockdown.places import LEADER
from switchtower.connection import connect
from switchtower.errors import ConfigurationError
from switchtower.queues import QUEUES
from switchtower.registry import announced
from switchtower.settings import Settings
from workers.embedded import announce, embedded
from workers.models import base as base_model
from workers.models.progress import Lines
from workers.staff import expect_operator
from workers.supervisor import SERVICES, Supervisor

KINDS = (*SERVICES, "guardrail", "router", "gpu", "upkeep")
_READY_S = 180


@dataclass(frozen=True)
class System:
    """A running embedded system."""

    settings: Settings
    supervisor: Supervisor
    flower_url: str | None


@contextmanager
def system(
    settings: Settings,
    home: Path | None = None,
    *,
    flower: bool = False,
    kinds: Sequence[str] = KINDS,
    console: Console | None = None,
    asks: bool = False,
) -> Iterator[System]:
    """Start everything, wait until the model is announced, and stop everything at the end.

    Where no operator is known, `asks` has one made in a dialogue; otherwise a throw-away operator is made.
    """
    _end_in_good_order()
    screen = console or Console(quiet=True)
    say = screen.print
    if not settings.local.server_url:
        base_model.prepare_served(settings.local, Lines(lambda step: say(f"[dim]model: {step}[/]")))
    with embedded(settings, home, audit=True) as opened:
        found, urls = _fenced(opened)
        expect_operator(found, screen, asks=asks)
        supervisor = Supervisor(found, found.home / "logs")
        try:
            for kind in kinds:
                supervisor.start(kind, SWITCHTOWER_BROKER__URL=urls[kind])
            url = _start_flower(supervisor, found, urls[MONITOR]) if flower else None
            say("[dim]waiting for the workers …[/]")
            wait_ready(found, supervisor, kinds)
            yield System(found, supervisor, url)
        finally:
            supervisor.stop()


def _end_in_good_order() -> None:
    """Let a closed terminal and a SIGTERM do what Ctrl-C does, so that no process is left behind."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)


def wait_ready(settings: Settings, supervisor: Supervisor, kinds: Sequence[str]) -> None:
    """Until a controller leads, each worker consumes and the model is announced; raises when one dies first."""
    redis, until = connect(settings.broker), time.monotonic() + _READY_S
    with redis:
        while not _ready(settings, redis, kinds):
            for name, process in supervisor.processes.items():
                if process.poll() is not None:
                    log = settings.home / "logs" / f"{name}.log"
                    last = "".join(log.read_text().splitlines(keepends=True)[-5:])
                    raise ConfigurationError(f"{name} ended with {process.returncode}; the end of {log}:\n{last}")
            if time.monotonic() > until:
                raise ConfigurationError(f"not ready within {_READY_S} s; the logs are in {settings.home / 'logs'}")
            time.sleep(0.1)


def _ready(settings: Settings, redis: Redis, kinds: Sequence[str]) -> bool:
    led = "controller" not in kinds or bool(redis.exists(LEADER))
    bound = all(redis.exists(f"_kombu.binding.{queue}") for queue in QUEUES if queue in kinds)
    served = any(one.alive(settings.local.heartbeat_s) for one in announced(redis))
    return led and bound and (served or "gpu" not in kinds)


def _fenced(opened: Settings) -> tuple[Settings, dict[str, str]]:
    """A user for each process; this one, and the command line that finds the system by its file, are the operator."""
    scheme, _, rest = opened.broker.url.partition("://")
    with connect(opened.broker) as redis:
        urls = fence(redis, opened.home / "acl", f"{scheme}://{rest.rpartition('@')[2]}", opened.broker.extra_queues)
    broker = opened.broker.model_copy(update={"url": urls[OPERATOR]})
    found = opened.model_copy(update={"broker": broker})
    announce(found)
    return found, urls


def _start_flower(supervisor: Supervisor, settings: Settings, broker_url: str) -> str:
    flower = settings.flower
    password = flower.password.get_secret_value() if flower.password else secrets.token_urlsafe(9)
    supervisor.start(
        "flower",
        sys.executable,
        "-m",
        "celery",
        "--app=switchtower.monitor",
        "flower",
        "--address=127.0.0.1",
        f"--port={flower.port}",
        SWITCHTOWER_BROKER__URL=broker_url,
        FLOWER_BASIC_AUTH=f"{flower.user}:{password}",
    )
    return f"http://{flower.user}:{password}@127.0.0.1:{flower.port}/"
