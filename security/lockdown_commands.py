"""`switchtower lockdown engage|status|release`, and `switchtower panic`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from redis import Redis
from rich.console import Console
from rich.markup import escape

from security.lockdown import engage, status
from security.lockdown.heads import heads_of
from security.lockdown.keyfile import LockedKey, key_path
from security.lockdown.places import keys_folder
from security.lockdown.request import Heads, ReleaseVerdict, request_release, wish
from security.lockdown.status import Status
from security.prompts import ask_code, ask_password
from switchtower.connection import connect
from switchtower.envelope import KeyRing
from switchtower.errors import ReleaseRefused
from switchtower.messages import now_ms
from switchtower.settings import Settings, settings

app = typer.Typer(no_args_is_help=True, help="Halt the whole line, see whether it is halted, or let it run again.")
console = Console()

Reason = Annotated[str, typer.Option(help="Why; the next operator reads it.")]
By = Annotated[str, typer.Option(help="Who.")]


def _redis() -> Redis:
    return connect(settings().broker)


def _ring() -> KeyRing:
    return KeyRing.load(settings().security.keys_directory)


def _status() -> Status:
    return status(_redis(), _ring())


@app.command("engage")
def engage_command(reason: Reason = "by hand", by: By = "cli") -> None:
    """Halt every worker at once; anyone may."""
    epoch = engage(_redis(), reason, by)
    console.print(f"[red]locked[/], epoch {epoch}; release it with `switchtower lockdown release`")


def panic(reason: Reason = "panic button", by: By = "cli") -> None:
    """Halt every worker at once: the short word for `switchtower lockdown engage`."""
    engage_command(reason, by)


@app.command("status")
def status_command() -> None:
    """Say whether the line is locked, since when, by whom and why, and who holds it open; exit code 1 when locked."""
    found = _status()
    word = "[red]locked[/], read-only" if found.locked else "[green]open[/]"
    said = f"epoch {found.epoch}, since {_clock(found.since)}, by {escape(found.by)}: {escape(found.reason)}"
    console.print(f"{word}, {said}", soft_wrap=True)
    for line in _details(found):
        console.print(escape(line), soft_wrap=True)
    raise typer.Exit(int(found.locked))


def _details(found: Status) -> list[str]:
    lease = [f"lease: runs out in {(found.expires - now_ms()) / 1000:.1f} s unless renewed"] if found.expires else []
    standby = f", standing by: {', '.join(found.standby)}" if found.standby else ""
    releases = [f"{_clock(one.at)} {one.operator}: {one.outcome}, {one.text}" for one in found.releases]
    return [*lease, f"controller: {found.leader or 'none is alive'}{standby}", *releases]


def _clock(at: int | None) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds") if at else "?"


@app.command("release")
def release_command(
    reason: Annotated[str, typer.Option(help="Why it is safe now.")] = "by hand",
    operator: Annotated[str | None, typer.Option(help="Your name, where several operators' keys lie here.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="A file with the password, for automation.")] = None,
) -> None:
    """Ask the controller to let the line run again; takes an operator's password and one-time code."""
    from security.lockdown import throwaway

    config, found = settings(), _status()
    if not found.locked:
        raise ReleaseRefused("the line is not locked")
    heads = heads_of(config)
    _show_incident(found, heads)
    if operator is None and throwaway.Throwaway.path(config).exists():
        console.print("[yellow]a throw-away operator releases[/]: both of its factors lie in a file")
        verdict = throwaway.release(_redis(), config, reason, heads)
    else:
        verdict = _release(config, found, heads, reason, operator, password_file)
    if verdict.outcome != "released":
        raise ReleaseRefused(verdict.text)
    console.print(f"[green]open[/], epoch {verdict.epoch}; waiting jobs go on")


def _show_incident(found: Status, heads: Heads | None) -> None:
    said = f"epoch {found.epoch}, since {_clock(found.since)}, by {escape(found.by)}: {escape(found.reason)}"
    console.print(f"[red]locked[/], {said}", soft_wrap=True)
    if heads is None:
        return
    try:
        newest = heads.latest()
    except OSError as error:
        raise ReleaseRefused(f"the audit's signed heads cannot be read here: {error}") from None
    if newest is None:
        raise ReleaseRefused("the audit has no signed head here yet; is `switchtower auditor` running?")
    console.print(f"audit: row {newest.seq}, head {newest.hash}", soft_wrap=True)


def _release(
    config: Settings, found: Status, heads: Heads | None, reason: str, operator: str | None, password_file: Path | None
) -> ReleaseVerdict:
    locked = LockedKey.load(key_path(keys_folder(config), operator))
    signer = locked.unlock(ask_password(locked.name, password_file))
    newest = heads.latest() if heads else None
    asked = wish(signer, found.epoch, ask_code(), newest.hash if newest else None, reason)
    return request_release(_redis(), _ring(), signer, asked)
