"""Asking an operator for secrets: hidden on the terminal, or from a file or a variable where no terminal is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer

from security.lockdown.keyfile import check_password
from switchtower.errors import ConfigurationError

PASSWORD_VARIABLE = "SWITCHTOWER_OPERATOR_PASSWORD"  # noqa: S105 - the name of a variable
CODE_VARIABLE = "SWITCHTOWER_OPERATOR_CODE"
_CODE = re.compile(r"[0-9]{6}")
_TRIES = 3


def ask_password(name: str, file: Path | None) -> str:
    """The operator's password: from the file, the variable, or the terminal."""
    return _stored(file) or str(typer.prompt(f"Password of {name}", hide_input=True))


def ask_new_password(name: str, file: Path | None) -> str:
    """A new password, typed twice; raises `ConfigurationError` for one that is too short."""
    stored = _stored(file)
    if stored is not None:
        check_password(stored)
        return stored
    prompt = f"New password of {name}"
    password = str(typer.prompt(prompt, hide_input=True, confirmation_prompt=True))
    check_password(password)
    return password


def ask_code(prompt: str = "One-time code") -> str:
    """Six digits, from the variable or the terminal; raises `ConfigurationError` where it is none."""
    for _ in range(_TRIES):
        said = os.environ.get(CODE_VARIABLE) or str(typer.prompt(prompt))
        code = said.replace(" ", "")
        if _CODE.fullmatch(code):
            return code
        if CODE_VARIABLE in os.environ:
            break
        typer.echo("a one-time code has six digits")
    raise ConfigurationError("a one-time code has six digits")


def _stored(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(PASSWORD_VARIABLE)
    try:
        return file.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the password cannot be read from {file}: {type(error).__name__}") from None
