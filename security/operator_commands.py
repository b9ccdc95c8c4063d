"""`switchtower operator create|list|password|revoke`: the people who may release a lockdown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from security.audit.events import AuditEvent, Fact, put
from security.lockdown import throwaway
from security.lockdown.keyfile import Cost, LockedKey, check_name
from security.lockdown.operators import Operator, admit_operator, known, prepare, revoke
from security.lockdown.places import keys_folder, operators_folder
from security.prompts import ask_code, ask_new_password, ask_password
from switchtower.connection import connect
from switchtower.envelope import Role, Signer
from switchtower.errors import ConfigurationError
from switchtower.messages import new_identity
from switchtower.settings import Settings, settings

app = typer.Typer(no_args_is_help=True, help="The people who may release a lockdown; run it where the controller runs.")
console = Console()

Name = Annotated[str, typer.Argument(help="The operator's name.")]
PasswordFile = Annotated[Path | None, typer.Option(help="A file with the password, for automation.")]
_TRIES = 5


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Letters, digits and ._-")] = "operator",
    password_file: PasswordFile = None,
) -> None:
    """Make an operator: a password for the key, and an authenticator for the one-time codes."""
    create_operator(settings(), name, password_file)


def create_operator(config: Settings, name: str, password_file: Path | None = None) -> Operator:
    """The dialogue that makes an operator; nothing is saved before a code of the authenticator has fitted."""
    check_name(name)
    if any(one.name == name for one in known(operators_folder(config))):
        raise ConfigurationError(f"there is an operator {name!r} already; revoke that one first")
    operator, locked = prepare(name, ask_new_password(name, password_file), config)
    _show_secret(operator)
    _confirm(operator)
    path = admit_operator(operator, locked, config)
    if throwaway.Throwaway.path(config).exists():
        revoke(throwaway.NAME, config)
        throwaway.drop(config)
    _audit(config, "operator-created", operator)
    console.print(f"[green]{name} may release lockdowns[/]. The key is {path}; carry it to {name}'s own machine.")
    return operator


def _audit(config: Settings, outcome: str, operator: Operator) -> None:
    """Have the audit know who may release, in the controller's name, whose list it is."""
    facts: dict[str, Fact] = {"operator": operator.name, "key": operator.kid}
    event = AuditEvent(job=new_identity(), topic="lockdown", outcome=outcome, actor=operator.name, facts=facts)
    try:
        signer = Signer.load(config.security.keys_directory, Role.CONTROLLER)
        with connect(config.broker) as redis:
            put(redis, event, signer)
    except (ConfigurationError, RedisError) as error:
        console.print(f"[yellow]not in the audit[/]: {escape(str(error))}", soft_wrap=True)


def _show_secret(operator: Operator) -> None:
    import segno

    console.print("Scan this with an authenticator app (TOTP, RFC 6238), or type the address below into it:")
    segno.make(operator.uri, error="m").terminal(compact=True)
    console.print(escape(operator.uri), soft_wrap=True, highlight=False)


def _confirm(operator: Operator) -> None:
    for _ in range(_TRIES):
        if operator.step_of(ask_code("Code that the app shows now")) is not None:
            return
        console.print("[red]that code does not fit[/]; check the clocks of this machine and of the phone")
    raise ConfigurationError("no code has fitted, so no operator was made")


@app.command("list")
def list_command() -> None:
    """List the operators that this controller knows."""
    table = Table("operator", "key", "since")
    for one in known(operators_folder(settings())):
        since = datetime.fromtimestamp(one.created / 1000, UTC).isoformat(timespec="seconds")
        table.add_row(one.name + (" (throw-away)" if one.name == throwaway.NAME else ""), one.kid, since)
    console.print(table)


@app.command("password")
def password_command(
    name: Name,
    password_file: Annotated[Path | None, typer.Option(help="A file with the present password.")] = None,
    new_password_file: Annotated[Path | None, typer.Option(help="A file with the new one.")] = None,
) -> None:
    """Change the password of an operator's key."""
    config = settings()
    path = keys_folder(config) / f"{check_name(name)}.key"
    signer = LockedKey.load(path).unlock(ask_password(name, password_file))
    new = ask_new_password(name, new_password_file)
    LockedKey.lock(name, signer, new, Cost(memory_kib=config.lockdown.argon2_memory_kib)).save(path)
    console.print("[green]changed[/]; copies of the key file still open with the old password: delete them")


@app.command("revoke")
def revoke_command(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Take an operator off the list, so that nothing sealed with that key releases any more."""
    config = settings()
    others = [one for one in known(operators_folder(config)) if one.name != name]
    if not yes:
        warning = "" if others else "; then nobody can release a lockdown"
        typer.confirm(f"Revoke {name}{warning}?", abort=True)
    _audit(config, "operator-revoked", revoke(name, config))
    console.print(f"{name} may release nothing any more; give the new ring.json to everyone who checks approvals")
