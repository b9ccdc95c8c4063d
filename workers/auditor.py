"""`switchtower auditor`: the process that writes the audit trail. Two may run, and one writes."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from switchtower.settings import Settings


def run_auditor() -> None:
    """Write the audit trail: events from the broker into PostgreSQL, until told to stop."""
    from security.audit.writer import Writer
    from switchtower.settings import settings
    from workers.parent import end_with_parent

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Set by another thread: a handler that interrupts the event's own `wait` could lock up with it.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    end_with_parent()
    Writer(settings()).run(stop)


@contextmanager
def embedded_audit(settings: Settings) -> Iterator[Settings]:
    """The embedded system's trail: PostgreSQL in its home, set up; yields the settings that lead to it.

    Where an audit is configured already, that one is used and nothing is started.
    """
    if settings.audit.url is not None:
        yield settings
        return
    from security.audit.setup import AUDITOR, READER, initialise
    from workers.postgres import postgres, secret

    folder = settings.home / "postgres"
    with postgres(folder) as server:
        passwords = {role: secret(folder, role) for role in (AUDITOR, READER)}
        initialise(server.admin_url, passwords)
        urls = {role: SecretStr(server.url(role, password)) for role, password in passwords.items()}
        found = {"url": urls[AUDITOR], "reader_url": urls[READER], "heads": settings.home / "audit" / "heads.jsonl"}
        yield settings.model_copy(update={"audit": settings.audit.model_copy(update=found)})


def audit_tier(settings: Settings) -> dict[str, str]:
    """The tier `audit` by which this user's other processes find the trail; it holds passwords."""
    audit = settings.audit
    secrets = {"url": audit.url, "reader_url": audit.reader_url}
    found = {name: value.get_secret_value() for name, value in secrets.items() if value}
    return found | ({"heads": str(audit.heads)} if audit.heads else {})
