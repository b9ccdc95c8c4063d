"""`switchtower up`: the whole system on one machine."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def run_up(
    home: Annotated[Path | None, typer.Option(help="Where the embedded system keeps its state.")] = None,
    flower: Annotated[bool, typer.Option(help="Run the task monitor too.")] = True,
    train: Annotated[bool, typer.Option(help="Run a train worker too, for `adapters train --queue`.")] = False,
) -> None:
    """Run the whole system on this machine, broker included, until Ctrl-C."""
    from switchtower.settings import settings
    from workers.system import KINDS, system

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    kinds = (*KINDS, "train") if train else KINDS
    with system(settings(), home, flower=flower, kinds=kinds, console=console, asks=sys.stdin.isatty()) as running:
        console.print("[green]up[/]; Ctrl-C stops it. In another terminal: switchtower ask 'What is a switch tower?'")
        if running.flower_url:
            console.print(f"Flower: {running.flower_url}")
        try:
            running.supervisor.watch()
        except KeyboardInterrupt:
            console.print("stopping …")
