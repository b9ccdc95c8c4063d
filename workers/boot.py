"""Builds and runs one worker process."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from celery import Celery

import tasks
from switchtower.app import create_app
from switchtower.errors import ConfigurationError
from switchtower.settings import Settings
from tasks.runtime import Runtime
from tasks.station import Body, install
from workers.bootsteps import HaltStep, SweepStep
from workers.roles import KINDS, Kind


def check_rooms() -> None:
    """Refuse to start when the `tasks` that Python finds is somebody else's."""
    ours = Path(__file__).resolve().parent.parent
    found = Path(tasks.__file__ or "").resolve().parent.parent
    if found != ours:
        raise ConfigurationError(f"the package `tasks` is found at {found}, expected it beside workers at {ours}")


def build(
    kind: Kind, settings: Settings, bodies: Callable[[Settings, Runtime], dict[str, Body]] | None = None
) -> Celery:
    """The Celery app of a kind of worker with its stations, its halt and its runtime."""
    check_rooms()
    app = create_app(settings, kind.name)
    runtime = Runtime(app, settings, kind.role)
    app.runtime = runtime
    app.steps["consumer"].add(HaltStep)
    if kind is KINDS["upkeep"]:
        app.steps["consumer"].add(SweepStep)
    install(app, runtime, (bodies or kind.bodies)(settings, runtime))
    return app


def serve(app: Celery, kind: Kind, pool: str | None = None, concurrency: int | None = None, level: str = "INFO") -> None:
    """Run the worker until it is told to stop."""
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(kind.queues)}",
            f"--pool={pool or kind.pool}",
            f"--concurrency={concurrency or kind.concurrency}",
            f"--hostname={kind.name}-{secrets.token_hex(2)}@%h",
            f"--loglevel={level}",
            "--without-mingle",
            "--without-gossip",
        ]
    )
