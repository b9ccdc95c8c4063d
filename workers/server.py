"""Commands that run the server's side: `switchtower worker` and `switchtower up`."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from switchtower.errors import ConfigurationError

console = Console()
worker = typer.Typer()
up = typer.Typer()


@worker.command()
def run_worker(
    kind: Annotated[str, typer.Argument(help="guardrail, router, gpu or upkeep.")],
    pool: Annotated[Optional[str], typer.Option(help="threads or prefork; gpu runs on threads only.")] = None,
    concurrency: Annotated[Optional[int], typer.Option(help="Steps at a time.")] = None,
    level: Annotated[str, typer.Option(help="How much to log.")] = "INFO",
) -> None:
    """Run one worker until it is told to stop."""
    from switchtower.settings import settings
    from workers.boot import build, serve
    from workers.roles import KINDS
    from workers.supervisor import end_with_parent

    if kind not in KINDS:
        raise typer.BadParameter(f"the kinds are {', '.join(KINDS)}")
    if kind == "gpu" and pool not in (None, "threads"):
        raise ConfigurationError("a gpu worker runs on threads: CUDA does not survive a fork")
    end_with_parent()
    serve(build(KINDS[kind], settings()), KINDS[kind], pool, concurrency, level)


@up.command()
def run_up(
    home: Annotated[Optional[Path], typer.Option(help="Where the embedded system keeps its state.")] = None,
    flower: Annotated[bool, typer.Option(help="Run the task monitor too.")] = True,
) -> None:
    """Run the whole system on this machine, broker included, until Ctrl-C."""
    from switchtower.settings import settings
    from workers.system import system

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with system(settings(), home, flower=flower, console=console) as running:
        console.print("[green]up[/]; Ctrl-C stops it. In another terminal: switchtower ask 'What is a switch tower?'")
        if running.flower_url:
            console.print(f"Flower: {running.flower_url}")
        try:
            running.supervisor.watch()
        except KeyboardInterrupt:
            console.print("stopping …")
