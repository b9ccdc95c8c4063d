"""Assembles and runs one worker process, whatever its stations are."""

from __future__ import annotations

import gc
import secrets
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from celery import Celery

from switchtower.app import create_app
from switchtower.envelope import Role
from switchtower.errors import ConfigurationError
from switchtower.settings import Settings
from workers.bootsteps import HaltStep
from workers.logs import calm
from workers.runtime import Runtime
from workers.shutdown import OrderlyWorker


def check_rooms() -> None:
    """Refuse to start when the `tasks` that Python finds is somebody else's."""
    ours = Path(__file__).resolve().parent.parent
    spec = find_spec("tasks")
    found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
    if found != ours:
        raise ConfigurationError(f"the package `tasks` is found at {found}, expected it beside workers at {ours}")


def assemble(name: str, role: Role | None, settings: Settings) -> tuple[Celery, Runtime]:
    """The Celery app of a kind of worker, with its halt, and the runtime that its stations share."""
    check_rooms()
    app = create_app(settings, name)
    runtime = Runtime(app, settings, role)
    app.runtime = runtime
    app.Worker = partial(OrderlyWorker, app=app)
    app.steps["consumer"].add(HaltStep)
    return app, runtime


def serve(app: Celery, name: str, queues: Sequence[str], pool: str, concurrency: int, level: str = "INFO") -> None:
    """Run the worker until it is told to stop."""
    calm()
    app.conf.update(worker_pool=pool, worker_concurrency=concurrency)
    # What booting made stays for ever: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--pool={pool}",
            f"--concurrency={concurrency}",
            f"--hostname={name}-{secrets.token_hex(2)}@%h",
            f"--loglevel={level}",
            "--without-mingle",
            "--without-gossip",
        ]
    )
