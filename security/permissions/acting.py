"""In whose name a command answers: the operator whose key lies here, behind a password."""

from __future__ import annotations

from pathlib import Path

from security.lockdown.keyfile import LockedKey, key_path
from security.lockdown.places import keys_folder
from security.lockdown.throwaway import Throwaway
from security.prompts import ask_password
from switchtower.envelope import Signer
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
    locked = LockedKey.load(key_path(keys_folder(config), name))
    return locked.unlock(ask_password(locked.name, password_file))
