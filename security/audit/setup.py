"""Setting up the trail in a database: its roles, its table, and who may do what with it. Repeating it is harmless."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from security.audit.trail import reachable

AUDITOR = "switchtower_auditor"
READER = "switchtower_reader"

_SQL = Path(__file__).with_name("sql")
_ONE_AT_A_TIME = 0x5377_4175_6469_75


def initialise(admin_url: str, passwords: Mapping[str, str] | None = None) -> dict[str, str]:
    """Create what is missing, as an administrator; returns the passwords of the two roles that log in.

    A role that has a password already keeps it, and is not in the answer, unless a new one is given here.
    Raises `ConfigurationError` where the database cannot be reached or the administrator may not do this.
    """
    with reachable(), psycopg.connect(admin_url, connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ONE_AT_A_TIME])
        known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        made = passwords or {role: secrets.token_urlsafe(24) for role in (AUDITOR, READER) if role not in known}
        connection.execute((_SQL / "roles.sql").read_bytes())
        for role, password in made.items():
            _set_password(connection, role, password)
        connection.execute("SET LOCAL ROLE switchtower_owner")
        connection.execute((_SQL / "schema.sql").read_bytes())
    return dict(made)


def url_of(admin_url: str, role: str, password: str) -> str:
    """The administrator's URL, for another role."""
    known = conninfo_to_dict(admin_url)
    host, port, name = (known.get(part) or other for part, other in (("host", ""), ("port", 5432), ("dbname", "")))
    rest = "&".join(f"{part}={known[part]}" for part in ("sslmode", "sslrootcert") if part in known)
    return f"postgresql://{role}:{password}@{host}:{port}/{name}" + (f"?{rest}" if rest else "")


def _set_password(connection: psycopg.Connection[object], role: str, password: str) -> None:
    """Only the verifier travels (SCRAM, RFC 5802), so that no server log can hold the password."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), verifier))
