"""`switchtower acl create|render|apply|check|backstop`: the users on the broker."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from security.acl import passwords
from security.acl.roles import ADMIN, Line
from security.acl.server import Denial, denials, differences
from security.acl.server import apply as apply_users
from security.acl.server import backstop as set_backstop
from security.acl.users import acl_file, users
from switchtower.connection import connect
from switchtower.settings import Broker, settings

app = typer.Typer(no_args_is_help=True, help="Give each role a user of its own on the broker, and see that it holds.")
console = Console()

ACL_FILE = "users.acl"

Directory = Annotated[Path, typer.Option(help="Where the URLs lie, one file for each role, and the ACL file.")]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", help="A queue of your own; `broker.extra_queues` where none is named.")
]
AdminUrl = Annotated[
    str | None, typer.Option("--url", help="The server, as a user who may do everything; `admin.url` if not given.")
]


@app.command()
def create(
    directory: Directory,
    url: Annotated[str, typer.Option(help="The broker's address without a user: redis://host:6379/0 or rediss://…")],
    queue: Queues = None,
) -> None:
    """Make a password for each role that has none; write its URL, and the server's ACL file."""
    line = _line(queue, url)
    known = passwords.create(directory, url, _names(line))
    (directory / ACL_FILE).write_text(acl_file(line, known))
    console.print(f"{len(known)} users: {', '.join(known)}", soft_wrap=True)
    where = directory.absolute()
    console.print(f"for the server: aclfile {where / ACL_FILE}", soft_wrap=True)
    console.print(f"for each process its own: SWITCHTOWER_BROKER__URL=file://{where}/<role>.url", soft_wrap=True)


@app.command()
def render(
    directory: Annotated[
        Path | None, typer.Option(help="Where the passwords lie; without it nobody can log in.")
    ] = None,
    db: Annotated[int, typer.Option(help="The number of the database.")] = 0,
    queue: Queues = None,
) -> None:
    """Print the ACL file: what each user may do, and nothing secret but hashes of random passwords."""
    line = Line(db, _queues(queue))
    known = passwords.read(directory, _names(line)) if directory else {}
    typer.echo(acl_file(line, known), nl=False)


@app.command()
def apply(
    directory: Directory,
    url: AdminUrl = None,
    queue: Queues = None,
    keep_old: Annotated[bool, typer.Option(help="Let the old passwords work too, until the next time.")] = False,
    keep_default: Annotated[bool, typer.Option(help="Leave the default user as it is.")] = False,
) -> None:
    """Put the users on a running server, each in one step, and let nobody else in."""
    broker = _broker(directory, url)
    line = _line(queue, broker.url)
    known = passwords.read(directory, _names(line))
    with connect(broker) as admin:
        made = apply_users(admin, line, known, keep_old=keep_old, lock_default=not keep_default)
    console.print(f"{len(made)} users are on the server: {', '.join(made)}", soft_wrap=True)


@app.command()
def check(directory: Directory, url: AdminUrl = None, queue: Queues = None) -> None:
    """Compare the server's users with the table, and show what was denied of late; exit code 1 where they differ."""
    broker = _broker(directory, url)
    line = _line(queue, broker.url)
    with connect(broker) as admin:
        found, denied = differences(admin, line), denials(admin)
    for one in found:
        console.print(f"[red]{escape(one.user)}[/] {escape(one.what)}", soft_wrap=True)
    if denied:
        console.print(_table(denied))
    if found:
        raise typer.Exit(1)
    console.print(f"[green]{len(users(line))} users are as they should be[/]; denied of late: {len(denied)}")


class Switch(StrEnum):
    """Whether the backstop is to hold."""

    ON = "on"
    OFF = "off"


@app.command()
def backstop(
    switch: Annotated[Switch, typer.Argument(help="on: no worker may take messages; off: they may again.")],
    directory: Directory,
    url: AdminUrl = None,
    queue: Queues = None,
) -> None:
    """Take from every worker the right to take messages, or give it back; for code that does not follow the flag."""
    broker = _broker(directory, url)
    with connect(broker) as admin:
        touched = set_backstop(admin, _line(queue, broker.url), on=switch is Switch.ON)
    console.print(f"the backstop is {switch} for {', '.join(touched)}", soft_wrap=True)


def _table(denied: list[Denial]) -> Table:
    table = Table("user", "denied for its", "what", "times", title="denied of late")
    for one in denied:
        table.add_row(*map(escape, (one.user, one.reason, one.what)), str(one.count))
    return table


def _line(queue: list[str] | None, url: str) -> Line:
    return Line(passwords.database(url), _queues(queue))


def _queues(queue: list[str] | None) -> tuple[str, ...]:
    return tuple(settings().broker.extra_queues if queue is None else queue)


def _names(line: Line) -> list[str]:
    return [user.name for user in users(line)]


def _broker(directory: Path, url: str | None) -> Broker:
    """The server by its administrator's URL, with this deployment's TLS."""
    known = settings().broker.model_dump(exclude={"url"})
    return Broker(**known, url=url or f"file://{passwords.url_file(directory, ADMIN).absolute()}")
