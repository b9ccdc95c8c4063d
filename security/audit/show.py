"""How rows and times look in a terminal. Whoever could write an event chose its words: they are shown in ASCII."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer
from redis.exceptions import RedisError
from rich.markup import escape
from rich.table import Table

from switchtower.connection import connect
from switchtower.jobs import AUDIT
from switchtower.messages import now_ms
from switchtower.settings import Broker

if TYPE_CHECKING:
    from security.audit.rows import Row

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SILENT_MS = 15_000
_WORD = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


def line(row: Row) -> str:
    """A row in one line."""
    return f"{row.seq} {_when(row.at)} {row.topic} {row.outcome} {row.actor} {row.job} by {_by(row)} {_facts(row)}"


def as_json(row: Row) -> str:
    """A row with every column."""
    return json.dumps(asdict(row))


def table(rows: Iterable[Row]) -> Table:
    """Rows side by side."""
    found = Table()
    for name in ("seq", "at", "topic", "outcome", "actor", "job", "sealed by", "facts"):
        found.add_column(name, overflow="fold")
    for row in rows:
        cells = (str(row.seq), _when(row.at), row.topic, row.outcome, row.actor, row.job, _by(row), _facts(row))
        found.add_row(*map(escape, cells))
    return found


def moment(said: str | None) -> int | None:
    """Milliseconds since 1970 for a date and time (UTC unless it says otherwise) or an age such as `90m`."""
    if said is None:
        return None
    if age := re.fullmatch(r"(\d{1,6})([smhd])", said):
        return now_ms() - int(timedelta(**{_UNITS[age[2]]: int(age[1])}) / timedelta(milliseconds=1))
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is neither a date and time (ISO 8601) nor an age such as 90m, 2h, 7d"
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def state(broker: Broker) -> str | None:
    """What keeps events from being written, if anything does."""
    from security.audit.inbox import WRITER

    try:
        with connect(broker) as redis:
            waiting, said = int(redis.xlen(AUDIT)), redis.hgetall(WRITER)
    except RedisError as error:
        return f"the broker does not answer ({type(error).__name__}); whether events wait cannot be told"
    silent = now_ms() - int(said.get("at", 0)) > _SILENT_MS
    doing = "no auditor is running" if silent else f"the auditor is {said['state']}"
    return f"{waiting} events wait; {doing}" if silent or said["state"] != "writing" else None


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")


def _by(row: Row) -> str:
    return f"{row.sealed_by} ({row.kid})" if row.kid else row.sealed_by


def _facts(row: Row) -> str:
    facts: dict[str, Any] = json.loads(row.facts_text) | ({"excerpt": row.excerpt} if row.excerpt else {})
    return " ".join(f"{_plain(name)}={_plain(value)}" for name, value in facts.items() if value not in (None, [], ""))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else json.dumps(value)
