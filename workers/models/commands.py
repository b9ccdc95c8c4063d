"""`switchtower models`: what is served, and the base models in the cache."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="List the models that are served; keep the base models in the cache.")
console = Console()

Name = Annotated[str, typer.Argument(help="Its name in the cache.")]


@app.command("list")
def list_models() -> None:
    """List the base models in the cache, then the models that workers have announced."""
    from switchtower.client import Client
    from switchtower.overview import model_table

    console.print(_stored(_cache()))
    with Client() as client:
        console.print(model_table(client))


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


def _stored(cache: Path) -> Table:
    from workers.models import shelf

    table = Table("base model", "form", "size", "context", "sha256", "from", title=f"in {cache}")
    for one in shelf.stored(cache):
        table.add_row(one.name, one.form, decimal(one.size), str(one.context_tokens), one.sha256[:12], one.origin)
    return table


def _cache() -> Path:
    from switchtower.settings import settings

    return settings().local.cache_directory
