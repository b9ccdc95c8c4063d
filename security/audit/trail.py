"""The trail in PostgreSQL as its one writer sees it, who can only add to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from security.audit.rows import COLUMNS, Entry, Mark, Row
from switchtower.errors import ConfigurationError
from switchtower.messages import now_ms

TABLE = sql.Identifier("switchtower", "audit")

_WRITER_LOCK = 0x5377_4175_6469_74
"""PostgreSQL's advisory lock of whoever writes; the number spells SwAudit."""

_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # The server too must notice a writer that is gone without a word, or its lock would stand for hours.
    "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
}

_HEAD = sql.SQL("SELECT seq, hash FROM {} ORDER BY seq DESC LIMIT 1").format(TABLE)
_HASH_AT = sql.SQL("SELECT hash FROM {} WHERE seq = %s").format(TABLE)
_KNOWN = sql.SQL("SELECT note_hash FROM {} WHERE note_hash = ANY(%s)").format(TABLE)
_COPY = sql.SQL("COPY {} ({}, facts) FROM STDIN").format(TABLE, sql.SQL(", ").join(map(sql.Identifier, COLUMNS)))


def connect(url: SecretStr | None, name: str, **options: Any) -> psycopg.Connection[Any]:
    """A connection; raises `ConfigurationError` where the setting is missing, and psycopg's `OperationalError`."""
    if url is None:
        raise ConfigurationError(f"no audit is configured here; set SWITCHTOWER_AUDIT__{name}, see docs/audit.md")
    return psycopg.connect(url.get_secret_value(), autocommit=True, connect_timeout=5, **options)


@contextmanager
def reachable() -> Iterator[None]:
    """Raise `ConfigurationError` for the ways in which PostgreSQL is not there or not set up."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise ConfigurationError("this database has no audit trail; run `switchtower audit init`") from None
    except psycopg.Error as error:
        raise ConfigurationError(f"the audit's PostgreSQL does not answer as it should: {_plain(error)}") from None


def _plain(error: psycopg.Error) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class Trail:
    """The writer's connection; everything that it writes is in one chain, whoever else tries."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def lead(self) -> bool:
        """Become the one writer, unless somebody else is; it lasts as long as the connection."""
        return bool(self._value("SELECT pg_try_advisory_lock(%s)", _WRITER_LOCK))

    def head(self) -> Mark:
        """Where the chain ends now."""
        found = self._connection.execute(_HEAD).fetchone()
        return Mark(*found) if found else Mark()

    def holds(self, mark: Mark) -> bool:
        """Whether the row of this number bears this hash."""
        return mark.seq == 0 or self._value(_HASH_AT, mark.seq) == mark.hash

    def append(self, head: Mark, entries: Sequence[Entry]) -> Mark:
        """Write what is not there yet after the head, in one transaction; returns the new head.

        Raises psycopg's `UniqueViolation` where the chain does not end at this head.
        """
        with self._connection.transaction():
            rows = list(_chain(head, self._unknown(entries)))
            with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                for row in rows:
                    copy.write_row([*(getattr(row, name) for name in COLUMNS), row.facts_text])
        return rows[-1].mark if rows else head

    def _unknown(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        known = {found for (found,) in self._connection.execute(_KNOWN, [[entry.note_hash for entry in entries]])}
        for entry in entries:
            if entry.note_hash not in known:
                known.add(entry.note_hash)
                yield entry

    def _value(self, query: Any, *args: Any) -> Any:
        found = self._connection.execute(query, args).fetchone()
        return found[0] if found else None


def _chain(head: Mark, entries: Iterable[Entry]) -> Iterator[Row]:
    written = now_ms()
    for entry in entries:
        row = Row.after(head, entry, written)
        yield row
        head = row.mark
