"""The command line. Commands that need the server's rooms are found through the entry-point group."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from switchtower import __version__
from switchtower.errors import ConfigurationError, SwitchtowerError
from switchtower.messages import JobResult, UserRequest
from switchtower.models import Capability, Privacy, Sampling

GROUP = "switchtower.commands"
console = Console()
errors = Console(stderr=True)


app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"switchtower {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """A hybrid-LLM task queue: jobs are screened, routed, answered, reviewed, and can be halted."""


PrivacyOption = Annotated[Privacy, typer.Option(help="From `high` on, no cloud ever sees the text.")]
CapabilityOption = Annotated[Capability | None, typer.Option(help="What the model must be good for.")]
ModelOption = Annotated[str | None, typer.Option(help="One model or adapter by name.")]
TokensOption = Annotated[int, typer.Option(help="The longest answer, in tokens.")]


@app.command()
def ask(
    prompt: Annotated[str | None, typer.Argument(help="The question; `-` or nothing reads standard input.")] = None,
    capability: CapabilityOption = None,
    model: ModelOption = None,
    privacy: PrivacyOption = Privacy.STANDARD,
    max_tokens: TokensOption = 256,
    label: Annotated[
        list[str] | None, typer.Option(help="One of the answers to choose from; name at least two.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="A file with the JSON schema that the answer must keep.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, with the labels' scores.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 300,
) -> None:
    """Ask one question and print the answer as it is written."""
    from switchtower.client import Client

    text = sys.stdin.read() if prompt in (None, "-") else prompt
    fields = {"prompt": text, "capability": capability, "model": model, "privacy": privacy}
    request = _request(fields | {"format": _format(label, schema)}, max_tokens)
    with Client() as client:
        job = client.submit(request)
        try:
            for piece in client.stream(job, timeout):
                print("" if as_json else piece, end="", flush=True)
        except KeyboardInterrupt:
            client.cancel(job)
            errors.print(f"\n[yellow]cancelled[/] {job}")
            raise typer.Exit(130) from None
        print(json.dumps(_told(client.result(job, timeout))) if as_json else "")
        errors.print(f"[dim]{job}  {client.status(job).route.get('reason', '')}[/]")


@app.command()
def submit(
    file: Annotated[Path, typer.Option(help='JSON lines, each a string or {"prompt": …}; `-` is standard input.')],
    wait: Annotated[bool, typer.Option(help="Wait for the results and print them as JSON lines.")] = False,
) -> None:
    """Submit a file of questions; prints one job id per line, or the results."""
    from switchtower.client import Client

    requests = list(_read(file))
    with Client() as client, _bar() as bar:
        sent = bar.add_task("submitting", total=len(requests))
        jobs = client.submit_many(requests, lambda count: bar.advance(sent, count))
        if wait:
            done = bar.add_task("finished", total=len(jobs))
            for job in jobs:
                print(json.dumps(_answer(client, job)), flush=True)
                bar.advance(done)
        else:
            print("\n".join(jobs))


def _bar() -> Progress:
    return Progress(console=errors, transient=True, disable=not sys.stderr.isatty())


def _read(file: Path) -> Iterator[UserRequest]:
    for number, line in enumerate(_text_of(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            yield UserRequest.model_validate({"prompt": said} if isinstance(said, str) else said)
        except ValueError as error:
            raise typer.BadParameter(f"{file}:{number}: {error}") from None


def _text_of(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: {error}") from None


def _request(fields: dict[str, Any], max_tokens: int) -> UserRequest:
    try:
        return UserRequest(**fields, sampling=Sampling(max_tokens=max_tokens))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _format(labels: list[str] | None, schema: Path | None) -> dict[str, Any] | None:
    if labels and schema:
        raise typer.BadParameter("an answer has labels or a schema, not both")
    if labels:
        return {"kind": "labels", "labels": labels}
    return {"kind": "json_schema", "json_schema": _text_of(schema)} if schema else None


def _told(result: JobResult) -> dict[str, Any]:
    """A result as a line of JSON; scores only where there are some."""
    scores = {} if result.scores is None else {"scores": result.scores}
    said = {"text": result.text, "model": result.model, "adapter": result.adapter}
    return {"job": result.job, "state": "done", **said, **scores}


def _answer(client: Any, job: str) -> dict[str, Any]:
    try:
        return _told(client.result(job))
    except SwitchtowerError as error:
        return {"job": job, "state": client.status(job).state, "error": type(error).__name__, "message": str(error)}


@app.command()
def status(job: Annotated[str | None, typer.Argument(help="A job; without it, the whole line.")] = None) -> None:
    """Show where a job stands, or how the line is doing."""
    from switchtower.client import Client
    from switchtower.overview import overview

    with Client() as client:
        if job is None:
            console.print(overview(client))
            return
        table = Table("at", "event", "what", title=str(client.status(job).state))
        for event in client.ledger.events(job):
            what = ", ".join(f"{name}={value}" for name, value in event.data.items() if name != "text")
            if event.kind != "token":
                table.add_row(f"{event.at / 1000:.3f}", event.kind, what)
        console.print(table)


@app.command()
def result(job: str, timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 300) -> None:
    """Wait for a job and print its answer."""
    from switchtower.client import Client

    with Client() as client:
        print(client.result(job, timeout).text)


@app.command()
def cancel(job: str) -> None:
    """Cancel a job and its children."""
    from switchtower.client import Client

    with Client() as client:
        cancelled = client.cancel(job)
    console.print(f"cancelled {len(cancelled)} job(s)" if cancelled else "it had ended already")


@app.command()
def dead(count: Annotated[int, typer.Option(help="How many.")] = 20) -> None:
    """List the latest jobs that failed for good, and why."""
    from switchtower.client import Client
    from switchtower.overview import dead_letters

    with Client() as client:
        console.print(dead_letters(client, count))


keys = typer.Typer(no_args_is_help=True, help="Make and list the keys that seal messages.")
app.add_typer(keys, name="keys")


@keys.command("create")
def create_keys(
    roles: Annotated[list[str] | None, typer.Argument(help="The roles; all of them where none is named.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where the keys are kept.")] = None,
    ring: Annotated[Path | None, typer.Option(help="The folder of the ring to join, for another client's key.")] = None,
) -> None:
    """Make a key for each role that has none and add it to the key ring."""
    from switchtower.envelope import Role
    from switchtower.keys import MACHINES, create
    from switchtower.settings import settings

    where = directory or settings().security.keys_directory
    if unknown := set(roles or ()) - set(MACHINES):
        hint = "; operators are made with `switchtower operator create`" if Role.OPERATOR in unknown else ""
        raise typer.BadParameter(f"the roles are {', '.join(MACHINES)}{hint}")
    made = create(where, [Role(role) for role in roles] if roles else MACHINES, ring)
    console.print("\n".join(made) if made else "every role has a key already")


@cache
@cache
def attach_rooms() -> None:
    """Add the commands of the rooms that this installation has; the others say where they are to be had."""
    for point in entry_points(group=GROUP):
        try:
            room = point.load()
        except ModuleNotFoundError as error:
            room = _elsewhere(point.name, error)
        if isinstance(room, typer.Typer):
            app.add_typer(room, name=point.name)
        else:
            app.command(point.name, context_settings=_ANY_WORDS if room.__module__ == __name__ else None)(room)


_ANY_WORDS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""For a command that only says where it is to be had, whatever it was asked."""


def _elsewhere(name: str, cause: ModuleNotFoundError) -> Callable[[], None]:
    def missing() -> None:
        reason = f"`switchtower {name}` needs a checkout of Switchtower or its image, with all extras ({cause})."
        raise ConfigurationError(reason)

    missing.__doc__ = "(not in this installation: needs a checkout or the image)"
    return missing


def main() -> None:
    """Run the command line; an error of ours is one line that says what to do."""
    from switchtower.connection import reachable

    attach_rooms()
    try:
        with reachable():
            app()
    except SwitchtowerError as error:
        errors.print(f"[red]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
