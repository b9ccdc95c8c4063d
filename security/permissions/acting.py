"""In whose name a command answers: the operator whose key lies here, behind a password."""

from __future__ import annotations

from pathlib import Path

from security.lockdown.keyfile import LockedKey
from security.lockdown.places import keys_folder
from security.lockdown.throwaway import Throwaway
from security.prompts import ask_password
from switchtower.envelope import Signer
from switchtower.errors import ConfigurationError
from switchtower.settings import Settings


def has_throwaway(config: Settings) -> bool:
    """Whether a throw-away operator, who takes no password, lies here."""
    return Throwaway.path(config).exists()


def acting_operator(config: Settings, name: str | None, password_file: Path | None) -> Signer:
    """The operator's signer, once the password has opened it; a throw-away operator takes none.

    Raises `ConfigurationError` where no key lies here or several do, and `ReleaseRefused` for a wrong password.
    """
    if name is None and has_throwaway(config):
        return Throwaway.load(config).signer(config)
    locked = LockedKey.load(_key_path(keys_folder(config), name))
    return locked.unlock(ask_password(locked.name, password_file))


def _key_path(folder: Path, name: str | None) -> Path:
    if name:
        return folder / f"{name}.key"
    paths = sorted(folder.glob("*.key"))
    if len(paths) > 1:
        names = ", ".join(path.stem for path in paths)
        raise ConfigurationError(f"the keys of {names} lie in {folder}; say which with --operator")
    return paths[0] if paths else folder / "operator.key"
