"""What an operator types: ids by their beginning, lengths of time, fields of a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError

from security.permissions import views
from security.permissions.grants import Grant
from security.permissions.questions import Question
from switchtower.errors import SwitchtowerError

T = TypeVar("T")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHORTEST = 4
"""Letters of an id that are enough where they are one question's or grant's alone."""


def one_of(beginning: str, identities: list[str], what: str) -> str:
    """The one id that begins so; raises `typer.BadParameter` where it is none or not the only one."""
    found = [one for one in identities if one.startswith(beginning)] if len(beginning) >= _SHORTEST else []
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} ids begin with {beginning!r}; write more of it")
    if not found:
        raise typer.BadParameter(f"no {what} with an id that begins with {beginning!r} (at least {_SHORTEST} letters)")
    return found[0]


def seconds(text: str | None) -> float | None:
    """A length of time such as 90s, 15m, 1h or 2d."""
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 9:  # noqa: PLR2004 - more than anybody lives
        raise typer.BadParameter(f"{text!r} is no length of time; write 90s, 15m, 1h or 2d")
    return float(int(number) * _UNITS[unit])


def valid(make: Callable[[], T]) -> T:
    """What this makes; a field that does not fit is the typist's error."""
    try:
        return make()
    except ValidationError as error:
        raise typer.BadParameter("; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())) from None


def completions(incomplete: str, find: Callable[[], Sequence[Question | Grant]]) -> list[tuple[str, str]]:
    """Ids for the shell; a shell that waits for a key is no place for errors."""
    try:
        found = find()
    except (SwitchtowerError, RedisError, OSError):
        return []
    return [(one.id, _label(one)) for one in found if one.id.startswith(incomplete)]


def _label(one: Question | Grant) -> str:
    asked = one.request if isinstance(one, Question) else one
    return f"{asked.model} {asked.action} {views.shown(one.resource)[:60]}"
