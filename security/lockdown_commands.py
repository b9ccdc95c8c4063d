"""`switchtower lockdown engage|status|release`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from redis import Redis
from rich.console import Console

from security.lockdown import engage, release, status
from switchtower.connection import connect
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.settings import settings

app = typer.Typer(no_args_is_help=True, help="Halt the whole line, see whether it is halted, or let it run again.")
console = Console()


def _redis() -> Redis:
    return connect(settings().broker)


@app.command("engage")
def engage_command(
    reason: Annotated[str, typer.Option(help="Why; the next operator reads it.")] = "by hand",
    by: Annotated[str, typer.Option(help="Who.")] = "cli",
) -> None:
    """Halt every worker at once; anyone may."""
    epoch = engage(_redis(), reason, by)
    console.print(f"[red]locked[/], epoch {epoch}; release it with `switchtower lockdown release`")


@app.command("status")
def status_command() -> None:
    """Say whether the line is locked, since when, by whom and why; exit code 1 when locked."""
    found = status(_redis(), KeyRing.load(settings().security.keys_directory))
    since = datetime.fromtimestamp(found.since / 1000, UTC).isoformat(timespec="seconds") if found.since else "?"
    word = "[red]locked[/]" if found.locked else "[green]open[/]"
    console.print(f"{word}, epoch {found.epoch}, since {since}, by {found.by}: {found.reason}")
    raise typer.Exit(int(found.locked))


@app.command("release")
def release_command(reason: Annotated[str, typer.Option(help="Why it is safe now.")] = "by hand") -> None:
    """Let the line run again, in the operator's name; needs the operator's private key."""
    operator = Signer.load(settings().security.keys_directory, Role.OPERATOR)
    epoch = release(_redis(), operator, reason)
    console.print(f"[green]open[/], epoch {epoch}; waiting jobs go on")
