"""`switchtower worker`: run one kind of worker."""

from __future__ import annotations

import logging
from typing import Annotated

import typer
from celery.app.defaults import DEFAULT_PROCESS_LOG_FMT

from switchtower.errors import ConfigurationError


def run_worker(
    kind: Annotated[str, typer.Argument(help="guardrail, router, gpu, train or upkeep.")],
    pool: Annotated[str | None, typer.Option(help="threads or prefork; gpu runs on threads only.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Steps at a time.")] = None,
    level: Annotated[str, typer.Option(help="How much to log.")] = "INFO",
) -> None:
    """Run one worker until it is told to stop."""
    from workers.quiet import calm_threads

    calm_threads()
    logging.basicConfig(level=level.upper(), format=DEFAULT_PROCESS_LOG_FMT)  # until Celery sets up its own
    from switchtower.connection import refuse_early
    from switchtower.settings import settings
    from tasks.kinds import KINDS, build
    from workers.boot import serve
    from workers.parent import end_with_parent

    if kind not in KINDS:
        raise typer.BadParameter(f"the kinds are {', '.join(KINDS)}")
    if kind == "gpu" and pool not in (None, "threads"):
        raise ConfigurationError("a gpu worker runs on threads: CUDA does not survive a fork")
    end_with_parent()
    refuse_early(settings().broker)
    chosen = KINDS[kind]
    app = build(chosen, settings())
    serve(app, kind, chosen.queues, pool or chosen.pool, concurrency or chosen.places(settings()), level)
