"""What every bench says at the end: a table for people, JSON for machines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

console = Console(stderr=True)


@dataclass(frozen=True)
class Row:
    """One measured thing; `passed` is None where nothing was aimed at."""

    what: str
    found: str
    aim: str = ""
    passed: bool | None = None


def parser(about: str | None) -> argparse.ArgumentParser:
    """An argument parser with what all benches share."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--json", metavar="PATH", help="write the figures there too; '-' is standard output")
    return made


def progress() -> Progress:
    """A bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def finish(title: str, rows: list[Row], figures: dict[str, Any], target: str | None) -> int:
    """Print the table, write the JSON, and return the exit code: 1 where an aim was missed."""
    table = Table("what", "found", "aim", "", title=title)
    for row in rows:
        table.add_row(row.what, row.found, row.aim, _word(row.passed))
    Console().print(table)
    if target:
        _write({"title": title, "machine": machine(), "rows": rows, **figures}, target)
    return int(any(row.passed is False for row in rows))


def _word(passed: bool | None) -> str:
    return "" if passed is None else "[green]pass[/]" if passed else "[red]miss[/]"


def _write(found: dict[str, Any], target: str) -> None:
    text = json.dumps(found, indent=1, default=vars)
    if target == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(target).write_text(text + "\n")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
