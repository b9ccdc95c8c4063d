"""`switchtower models`: what is served, loading and unloading it, and the base models in the cache."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

if TYPE_CHECKING:
    from switchtower.registry import Vitals

app = typer.Typer(
    no_args_is_help=True, help="List the models that are served, load and unload them; keep base models in the cache."
)
console = Console()

Name = Annotated[str, typer.Argument(help="Its name in the cache.")]
Served = Annotated[str, typer.Argument(help="The base model, as workers have announced it.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit.")]
Wait = Annotated[float, typer.Option(help="Seconds to wait until every worker has followed.")]
Operator = Annotated[str | None, typer.Option(help="Your name, where several operators' keys lie here.")]
PasswordFile = Annotated[Path | None, typer.Option(help="A file with your password, for automation.")]
Wanted = Literal["loaded", "unloaded"]


@app.command("list")
def list_models() -> None:
    """List the base models in the cache, the models that workers have announced, and how these workers are."""
    from switchtower.client import Client
    from switchtower.overview import model_table, worker_table

    console.print(_stored(_cache()))
    with Client() as client:
        console.print(model_table(client))
        console.print(worker_table(client))


@app.command()
def fetch(
    source: Annotated[
        str | None, typer.Argument(help="A folder, a .gguf file or a hub's ORGANISATION/MODEL; else the settings' own.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it in the cache.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Ask the hub; nothing else here uses the network.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit on the hub.")] = None,
    file: Annotated[str | None, typer.Option(help="A .gguf file of a hub's model.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Refuse other weights than these.")] = None,
) -> None:
    """Bring a base model into the cache, checked and in the forms that this machine serves."""
    from switchtower.settings import settings
    from workers.models.fetching import from_hub, into_cache
    from workers.models.progress import Bars
    from workers.models.source import is_hub_id

    local = settings().local
    wanted = source or local.base_model_path
    with Bars(console) as bars, ExitStack() as until_it_is_in:
        origin = None
        if wanted and is_hub_id(wanted):
            name = name or wanted.rpartition("/")[2]
            came = from_hub(local.cache_directory, wanted, online, revision, file, bars)
            wanted, origin = map(str, until_it_is_in.enter_context(came))
        made = into_cache(local, wanted, bars, name=name, origin=origin, sha256=sha256)
    console.print(f"{made.name} stands in {local.cache_directory / made.name}, sha256 {made.sha256}", soft_wrap=True)


@app.command()
def verify(name: Annotated[str | None, typer.Argument(help="Its name in the cache; all if left out.")] = None) -> None:
    """Hash every file of a base model again; the first one that changed is named."""
    from switchtower.errors import BaseModelError
    from workers.models import manifest, shelf
    from workers.models.progress import Bars

    cache = _cache()
    forms = [one for one in shelf.stored(cache) if name in {None, one.name}]
    if not forms:
        raise BaseModelError(
            f"there is no {name or 'base model'} in the cache; get one with `switchtower models fetch`"
        )
    with Bars(console) as bars:
        for one in forms:
            bars.begin(f"{one.name}, {one.form}")
            manifest.verify(cache / one.name / one.form, bars)
    console.print("every file is as it was when it was made")


@app.command()
def rm(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a base model from the cache, unless a worker on this machine uses it."""
    from workers.models import shelf

    if not yes:
        typer.confirm(f"remove {name} from {_cache()}?", abort=True)
    console.print(f"{name} is gone; {decimal(shelf.remove(_cache(), name))} are free again")


@app.command()
def unload(
    name: Served,
    length: Annotated[str, typer.Option("--for", help="How long: 15m, 2h, 1d; then it is loaded again.")] = "30d",
    reason: Reason = "",
    wait: Wait = 60,
    operator: Operator = None,
    password_file: PasswordFile = None,
) -> None:
    """Have every worker of a base model give its memory back, in the operator's name; its jobs wait meanwhile."""
    from security.permissions.words import seconds

    _order(name, "unloaded", reason, wait, operator, password_file, seconds(length))


@app.command()
def load(
    name: Served,
    reason: Reason = "",
    wait: Wait = 60,
    operator: Operator = None,
    password_file: PasswordFile = None,
) -> None:
    """Have every worker of a base model load it again, in the operator's name."""
    _order(name, "loaded", reason, wait, operator, password_file)


def _order(
    name: str,
    after: Wanted,
    reason: str,
    wait: float,
    operator: str | None,
    password_file: Path | None,
    seconds: float | None = None,
) -> None:
    from security.permissions.acting import acting_operator, has_throwaway
    from security.permissions.words import valid
    from switchtower.connection import connect
    from switchtower.settings import settings
    from workers.models.ordering import laggards, serving
    from workers.models.orders import STANDING_S, give

    config = settings()
    redis, heartbeat_s = connect(config.broker), config.local.heartbeat_s
    serving(redis, name, heartbeat_s)
    if operator is None and has_throwaway(config):
        console.print("[yellow]a throw-away operator orders this[/]: its password lies in a file")
    signer = acting_operator(config, operator, password_file)
    valid(lambda: give(redis, signer, name, after, reason=reason, seconds=seconds or STANDING_S))
    _tell(name, after, laggards(redis, name, after, heartbeat_s, wait))


def _tell(name: str, after: str, left: list[Vitals]) -> None:
    for one in left:
        console.print(f"{one.worker}: still {one.state}{f', {one.trouble}' if one.trouble else ''}", soft_wrap=True)
    if left:
        console.print("[yellow]ordered[/], and not yet done everywhere; see `switchtower models list`")
        raise typer.Exit(1)
    console.print(f"[green]{after}[/]: {name}, on every worker that has it")


def _stored(cache: Path) -> Table:
    from workers.models import shelf

    table = Table("base model", "form", "size", "context", "sha256", "from", title=f"in {cache}")
    for one in shelf.stored(cache):
        table.add_row(one.name, one.form, decimal(one.size), str(one.context_tokens), one.sha256[:12], one.origin)
    return table


def _cache() -> Path:
    from switchtower.settings import settings

    return settings().local.cache_directory
