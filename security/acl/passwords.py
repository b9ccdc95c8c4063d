"""The users' passwords, each in a file with the URL that its role's processes connect by."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from switchtower.errors import ConfigurationError


def url_file(folder: Path, role: str) -> Path:
    """Where the URL of a role lies."""
    return folder / f"{role}.url"


def create(folder: Path, base: str, names: Iterable[str]) -> dict[str, str]:
    """The password of every user; made where there is none, and kept with the address in `base` (a URL without user).

    The files are readable by their owner only.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = {name: _known(url_file(folder, name)) or secrets.token_urlsafe(32) for name in names}
    for name, password in found.items():
        _write(url_file(folder, name), url_of(base, name, password))
    return found


def read(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The passwords that were made before; raises `ConfigurationError` where one is missing."""
    found = {name: _known(url_file(folder, name)) for name in names}
    if missing := [name for name, password in found.items() if password is None]:
        raise ConfigurationError(f"{folder} has no URL of {', '.join(missing)}; run `switchtower acl create`")
    return {name: password for name, password in found.items() if password is not None}


def url_of(base: str, name: str, password: str) -> str:
    """The broker's URL for one user; raises `ConfigurationError` for a base that names a user already."""
    parts = urlsplit(base)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or "@" in parts.netloc:
        raise ConfigurationError("the broker's address must be redis:// or rediss://, a host, and no user")
    return urlunsplit(parts._replace(netloc=f"{quote(name)}:{quote(password)}@{parts.netloc}"))


def database(url: str) -> int:
    """The number of the database that a URL names."""
    path = urlsplit(url).path.strip("/")
    if path and not path.isdigit():
        raise ConfigurationError(f"the broker's URL must end in the number of a database, not in {path!r}")
    return int(path or 0)


def _known(path: Path) -> str | None:
    try:
        password = urlsplit(path.read_text().strip()).password
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} is not a file with a broker's URL: {error}") from None
    if not password:
        raise ConfigurationError(f"{path} holds no URL with a password")
    return unquote(password)


def _write(path: Path, url: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{url}\n")
    draft.replace(path)
