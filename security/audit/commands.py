"""`switchtower audit …`: follow, search, verify and export the audit trail, or set it up."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from switchtower.errors import AuditBroken, ConfigurationError
from switchtower.settings import settings

if TYPE_CHECKING:
    from security.audit.proof import Walk
    from security.audit.queries import Stored
    from security.audit.rows import Row

app = typer.Typer(no_args_is_help=True, help="Follow, search, verify and export the audit trail.")
console = Console()
errors = Console(stderr=True)

_POLL_S = 0.5
_PAGE = 1000

Count = Annotated[int, typer.Option("--count", "-n", min=1, help="How many rows at most.")]
Topic = Annotated[str | None, typer.Option(help="verdict, permission, approval, lockdown, release, trigger, …")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, with every column.")]


@app.command("init")
def init_command(
    admin_url: Annotated[str, typer.Option(envvar="SWITCHTOWER_AUDIT_ADMIN_URL", help="PostgreSQL, as one who may.")],
) -> None:
    """Create the trail's table and roles; the passwords of new roles are printed this once."""
    from security.audit.setup import AUDITOR, READER, initialise, url_of

    made = initialise(admin_url)
    for role, variable, who in ((AUDITOR, "URL", "the auditor"), (READER, "READER_URL", "who reads the trail")):
        if role in made:
            print(f"SWITCHTOWER_AUDIT__{variable}={url_of(admin_url, role, made[role])}")
            errors.print(f"[dim]↑ for {who} alone[/]")
    errors.print("[green]the trail is ready[/]" + ("" if made else "; its roles keep their passwords"))


@app.command()
def tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    topic: Topic = None,
    count: Count = 20,
    as_json: AsJson = False,
) -> None:
    """Show the latest rows, and say where events wait to be written."""
    from security.audit.queries import Filter
    from security.audit.show import state

    rows = _latest(Filter(topic=topic), count)
    _print(rows, as_json)
    if found := state(settings().broker):
        errors.print(found, style="yellow", markup=False)
    if follow:
        try:
            _follow(topic, rows[-1].seq if rows else 0, as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


@app.command()
def search(
    job: Annotated[str | None, typer.Option(help="All that was decided about one job.")] = None,
    actor: Annotated[str | None, typer.Option(help="A station, a controller, an operator's key.")] = None,
    topic: Topic = None,
    outcome: Annotated[str | None, typer.Option(help="block, denied, forged, …")] = None,
    since: Annotated[
        str | None, typer.Option(help="A date and time (ISO 8601), or an age such as 90m, 2h, 7d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="The same.")] = None,
    text: Annotated[str | None, typer.Option(help="Words in the facts, such as a rule's name.")] = None,
    count: Count = 100,
    as_json: AsJson = False,
) -> None:
    """Find rows; all that is given must hold."""
    from security.audit.queries import Filter
    from security.audit.show import moment, table

    wanted = Filter(job, actor, topic, outcome, moment(since), moment(until), text)
    rows = _latest(wanted, count)
    if as_json:
        _print(rows, as_json)
    else:
        console.print(table(rows))


@app.command()
def head() -> None:
    """Print where the chain ends now, as number and hash."""
    from security.audit.queries import current_head

    mark = current_head(settings())
    print(mark.seq, mark.hash)


@app.command()
def verify(
    seals: Annotated[bool, typer.Option(help="Check the source's own seal on every row too.")] = True,
    file: Annotated[Path | None, typer.Option(help="An exported file instead of the database.")] = None,
    heads: Annotated[Path | None, typer.Option(help="A copy of the signed heads instead of this machine's.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The folder of the key ring.")] = None,
) -> None:
    """Walk the whole chain; names the first row that is not what was written, with exit code 1."""
    from security.audit.export import Export
    from security.audit.heads import Mirror
    from security.audit.proof import Walk
    from security.audit.queries import Archive
    from switchtower.envelope import KeyRing

    found = settings()
    ring = KeyRing.load(keys or found.security.keys_directory)
    mirror = Mirror(heads or Mirror.of(found).path, ring)
    with ExitStack() as stack:
        # The heads first: what the auditor signs during the walk may lie beyond what the walk sees.
        if file:
            export = Export(file, ring)
            signed, count, rows = export.heads, export.count, export.rows()
            signed |= mirror.signed() if heads else {}
        else:
            signed = mirror.signed()
            archive = stack.enter_context(Archive(found.audit.reader_url))
            count, rows = archive.size()[0], archive.all()
        walk = Walk(ring if seals else None, signed)
        _walk(walk, rows, count)
    _report(walk)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; `-` is standard output.")],
) -> None:
    """Write rows and signed heads as JSON lines, to be verified elsewhere with `audit verify --file`."""
    from security.audit.export import write
    from security.audit.heads import Mirror
    from security.audit.queries import Archive

    found = settings()
    lines = list(Mirror.of(found).all())
    with Archive(found.audit.reader_url) as archive, ExitStack() as stack:
        out = sys.stdout if str(file) == "-" else stack.enter_context(_create(file))
        last = write(out, archive.all(), lines)
    errors.print(f"exported up to {last}, with {len(lines)} signed heads", highlight=False)


def _latest(wanted: Any, count: int) -> list[Row]:
    from security.audit.queries import Archive

    with Archive(settings().audit.reader_url) as archive:
        return archive.latest(wanted, count)


def _follow(topic: str | None, seq: int, as_json: bool) -> None:
    """Print what comes, for ever; says so once where PostgreSQL goes away, and waits for it."""
    from security.audit.queries import Archive
    from security.audit.show import state

    trouble = ""
    while True:
        try:
            with Archive(settings().audit.reader_url) as archive:
                while True:
                    rows = archive.after(seq, topic, _PAGE)
                    _print(rows, as_json)
                    seq, trouble = rows[-1].seq if rows else seq, ""
                    time.sleep(0 if len(rows) == _PAGE else _POLL_S)
        except ConfigurationError as error:
            if str(error) != trouble:
                trouble = str(error)
                errors.print(f"{trouble}\n{state(settings().broker) or ''}".strip(), style="yellow", markup=False)
            time.sleep(_POLL_S)


def _print(rows: list[Row], as_json: bool) -> None:
    from security.audit import show

    for row in rows:
        print(show.as_json(row) if as_json else show.line(row), flush=True)


def _create(file: Path) -> Any:
    try:
        return file.open("x", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the export cannot be written: {error}") from None


def _walk(walk: Walk, rows: Iterator[Stored], count: int) -> None:
    bar = Progress(
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("rows", total=count)
        for row in walk.along(rows):
            if row.seq % _PAGE == 0:
                bar.update(task, completed=row.seq)


def _report(walk: Walk) -> None:
    if walk.flaw:
        raise AuditBroken(f"row {walk.flaw.seq}: {walk.flaw.what}")
    console.print(f"[green]sound[/]: {walk.last.seq} rows, the last is {walk.last}", highlight=False)
    if walk.unknown_keys:
        console.print(f"{walk.unknown_keys} seals are by keys that the key ring does not hold any more")
    if not walk.heads:
        console.print("[yellow]no signed head was found[/]: nothing vouches for the end of the trail")
    elif loose := walk.last.seq - walk.witnessed:
        console.print(f"the last {loose} rows are not covered by a signed head yet")
