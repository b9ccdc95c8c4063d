"""A small trail for tests: keys of all roles, notes as they stand on the stream, and a chain in memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from security.audit.events import AuditEvent, note, put
from security.audit.heads import Mirror
from security.audit.inbox import WRITER
from security.audit.queries import Stored
from security.audit.reading import Reader
from security.audit.rows import Entry, Mark, Row
from security.audit.writer import Writer
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.jobs import AUDIT
from switchtower.messages import new_identity
from switchtower.settings import Settings, settings
from tests.support.harness import Harness, harness
from tests.support.keys import leaked
from tests.support.wait import until
from workers.auditor import audit_tier, embedded_audit
from workers.embedded import environment
from workers.postgres import ADMIN, secret


def told(topic: str = "verdict", outcome: str = "allow", **fields: Any) -> AuditEvent:
    """An event about some job."""
    said = {"job": new_identity(), "actor": "switchtower.screen", "facts": {"risk": "low", "rules": ("a", "b")}}
    return AuditEvent.model_validate(said | {"topic": topic, "outcome": outcome} | fields)


@dataclass
class Keys:
    """One key per role, and the ring of all of them."""

    signers: dict[Role, Signer] = field(default_factory=lambda: {role: Signer.create(role) for role in Role})

    @property
    def ring(self) -> KeyRing:
        return KeyRing.of(*self.signers.values())

    def note(self, event: AuditEvent, role: Role | None = Role.GUARDRAIL) -> bytes:
        return note(event, self.signers[role] if role else None).encode()

    def reader(self, limit: int = 65_536) -> Reader:
        return Reader(lambda: self.ring, self.signers[Role.AUDITOR], limit)

    def chain(self, count: int) -> list[Row]:
        """Rows of sealed verdicts, as the auditor would write them."""
        reader = self.reader()
        return chained([reader.read(self.note(told(facts={"n": number}))) for number in range(count)])


def chained(entries: list[Entry]) -> list[Row]:
    """Entries in their places, by the rules of the chain."""
    rows: list[Row] = []
    for entry in entries:
        rows.append(Row.after(rows[-1].mark if rows else Mark(), entry, 1_750_000_000_000))
    return rows


def stored(rows: list[Row]) -> list[Stored]:
    """Rows as a database gives them."""
    return [Stored(row, row.facts_text) for row in rows]


def rechained(rows: list[Row], start: int) -> list[Row]:
    """Rows whose hashes fit again from an index on: what somebody does who rewrites history."""
    done = rows[:start]
    for row in rows[start:]:
        head = done[-1].mark if done else Mark()
        moved = replace(row, seq=head.seq + 1, prev_hash=head.hash)
        done.append(replace(moved, hash=moved.expected_hash()))
    return done


@dataclass
class Ground:
    """A broker, a database with a trail, and what a test does to them."""

    made: Harness
    settings: Settings
    admin_url: str

    @property
    def mirror(self) -> Mirror:
        return Mirror.of(self.settings)

    def put(self, count: int, role: Role | None = Role.GUARDRAIL, **fields: Any) -> list[AuditEvent]:
        """Put events on the stream, sealed by the role."""
        events = [told(**({"facts": {"n": number}} | fields)) for number in range(count)]
        signer = self.made.signer(role) if role else None
        with self.made.redis.pipeline() as pipe:
            for event in events:
                put(pipe, event, signer)
            pipe.execute()
        return events

    def raw(self, note: bytes | str) -> None:
        """Put anything on the stream."""
        self.made.redis.xadd(AUDIT, {"e": note})

    def waiting(self) -> int:
        return int(self.made.redis.xlen(AUDIT))

    @property
    def state(self) -> str:
        return str(self.made.redis.hget(WRITER, "state"))

    @contextmanager
    def writing(self, like: Settings | None = None) -> Iterator[Writer]:
        """An auditor in a thread."""
        stop, writer = threading.Event(), Writer(like or self.settings)
        thread = threading.Thread(target=writer.run, args=[stop], daemon=True)
        thread.start()
        try:
            yield writer
        finally:
            stop.set()
            thread.join(10)

    def written(self, count: int = 0, **fields: Any) -> list[Row]:
        """Put so many events, let an auditor write all that waits, and give all rows."""
        self.put(count, **fields)
        with self.writing():
            self.drained()
        return self.rows()

    def drained(self) -> None:
        until(lambda: not self.waiting(), lambda: f"the auditor to write all: {self.state}")

    def rows(self) -> list[Row]:
        from security.audit.queries import Archive

        with Archive(self.settings.audit.reader_url) as archive:
            return [one.row for one in archive.all()]

    def admin(self, *statements: str) -> None:
        """What the database's superuser can do who does not want to be seen: no trigger fires."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
            for statement in statements:
                connection.execute(sql.SQL(statement))  # type: ignore[arg-type]

    @contextmanager
    def auditor(self) -> Iterator[subprocess.Popen[bytes]]:
        """An auditor in a process of its own, which is told to stop at the end."""
        said = {f"SWITCHTOWER_AUDIT__{name.upper()}": value for name, value in audit_tier(self.settings).items()}
        process = subprocess.Popen(
            [sys.executable, "-m", "switchtower", "auditor"],
            env=os.environ | environment(self.settings) | said,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)

    @contextmanager
    def fresh(self, patch: pytest.MonkeyPatch) -> Iterator[Ground]:
        """An empty trail, which the command line finds; no Redis key may outlive its purpose."""
        self.clear()
        for name, value in audit_tier(self.settings).items():
            patch.setenv(f"SWITCHTOWER_AUDIT__{name.upper()}", value)
        for name, value in environment(self.settings).items():
            patch.setenv(name, value)
        settings.cache_clear()
        yield self
        settings.cache_clear()
        assert not leaked(self.made.redis)

    def clear(self) -> None:
        """No row, no head, nothing waiting."""
        self.admin("TRUNCATE switchtower.audit")
        self.mirror.path.unlink(missing_ok=True)
        self.made.redis.delete(AUDIT, WRITER)


@contextmanager
def ground(folder: Path, *, controller: bool = False) -> Iterator[Ground]:
    """A broker and a database of their own, with an empty trail."""
    with harness(folder, controller=controller) as made, embedded_audit(made.settings) as settings:
        assert settings.audit.url
        place = settings.audit.url.get_secret_value().rpartition("@")[2]
        password = secret(settings.home / "postgres", ADMIN)
        yield Ground(made, settings, f"postgresql://{ADMIN}:{password}@{place}")
