"""Reading the trail: search, the latest rows, and all of it in one consistent view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from psycopg import sql
from psycopg.rows import tuple_row
from pydantic import SecretStr

from security.audit.heads import Mirror
from security.audit.rows import COLUMNS, Mark, Row
from security.audit.trail import TABLE, connect, reachable
from switchtower.errors import AuditBroken
from switchtower.settings import Settings

_PICK = sql.SQL("SELECT {}, facts::text FROM {}").format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), TABLE)
_COUNT = sql.SQL("SELECT count(*), coalesce(max(seq), 0) FROM {}").format(TABLE)


class Stored(NamedTuple):
    """A row and the text of its second, queryable copy of the facts."""

    row: Row
    facts: str | None


@dataclass(frozen=True)
class Filter:
    """What to look for; all that is given must hold. Times are milliseconds since 1970."""

    job: str | None = None
    actor: str | None = None
    topic: str | None = None
    outcome: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None
    after: int | None = None

    def where(self) -> sql.Composable:
        """The condition in SQL; its values are those of `values`."""
        found = [sql.SQL(text) for name, text in _CONDITIONS.items() if getattr(self, name) is not None]
        return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(found) if found else sql.SQL("")

    def values(self) -> dict[str, Any]:
        escaped = (self.text or "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {name: getattr(self, name) for name in _CONDITIONS} | {"text": f"%{escaped}%"}


_CONDITIONS = {
    "job": "job = %(job)s",
    "actor": "actor = %(actor)s",
    "topic": "topic = %(topic)s",
    "outcome": "outcome = %(outcome)s",
    "since": '"at" >= %(since)s',
    "until": '"at" < %(until)s',
    "text": "facts_text || ' ' || coalesce(excerpt, '') ILIKE %(text)s",
    "after": "seq > %(after)s",
}


class Archive:
    """A reader's connection to the trail; raises `ConfigurationError` where PostgreSQL is not there."""

    def __init__(self, url: SecretStr | None) -> None:
        with reachable():
            self._connection = connect(url, "READER_URL")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def latest(self, wanted: Filter, count: int) -> list[Row]:
        """The last rows that fit, oldest first."""
        query = _PICK + wanted.where() + sql.SQL(" ORDER BY seq DESC LIMIT {}").format(count)
        with reachable():
            found = self._connection.execute(query, wanted.values()).fetchall()
        return [_stored(values).row for values in reversed(found)]

    def after(self, seq: int, topic: str | None, count: int) -> list[Row]:
        """The first rows after a number."""
        wanted = Filter(topic=topic, after=seq)
        query = _PICK + wanted.where() + sql.SQL(" ORDER BY seq LIMIT {}").format(count)
        with reachable():
            found = self._connection.execute(query, wanted.values()).fetchall()
        return [_stored(values).row for values in found]

    def size(self) -> tuple[int, Mark]:
        """How many rows there are, and the last one's mark."""
        with reachable():
            count, seq = self._connection.execute(_COUNT).fetchone() or (0, 0)
        latest = self.latest(Filter(after=seq - 1), 1) if seq else []
        return count, latest[0].mark if latest else Mark()

    def all(self, batch: int = 2000) -> Iterator[Stored]:
        """Every row by number, as of one moment, fetched in batches."""
        with reachable(), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            with self._connection.cursor("audit_walk", row_factory=tuple_row) as cursor:
                cursor.itersize = batch
                cursor.execute(_PICK + sql.SQL(" ORDER BY seq, hash"))
                for values in cursor:
                    yield _stored(values)


def _stored(values: tuple[Any, ...]) -> Stored:
    return Stored(Row(**dict(zip(COLUMNS, values[:-1], strict=True))), values[-1])


def current_head(settings: Settings) -> Mark:
    """Where the chain ends now; raises `AuditBroken` where it ends before, or beside, what the auditor has signed."""
    signed = Mirror.of(settings).latest()
    with Archive(settings.audit.reader_url) as archive:
        _, last = archive.size()
        if signed and [row.hash for row in archive.after(signed.seq - 1, None, 1)] != [signed.hash]:
            raise AuditBroken(f"row {signed.seq} is not the one that the auditor has signed")
    return last
