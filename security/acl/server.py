"""The users on a running server: put there, compared with the table, and stopped all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from security.acl.roles import Line, workers
from security.acl.users import BARE, User, users
from switchtower.errors import ConfigurationError

_DEFAULT = "default"


def apply(
    admin: Redis, line: Line, passwords: Mapping[str, str], *, keep_old: bool = False, lock_default: bool = True
) -> list[str]:
    """Put every user on the server, each in one step, and let nobody else in; returns their names.

    Each user gets its password instead of all that it had, or besides them with `keep_old`, so that a password can
    be changed without a pause; one that is given none cannot log in. Who is connected stays connected. Raises
    `ConfigurationError` where the server is too old.
    """
    known = users(line)
    for user in known:
        password = passwords.get(user.name)
        _set(admin, user, ([] if keep_old else ["resetpass"]) + user.words(password))
    if lock_default:
        admin.execute_command("ACL SETUSER", _DEFAULT, "off")
    _save(admin)
    return [user.name for user in known]


def backstop(admin: Redis, line: Line, *, on: bool) -> list[str]:
    """Take from every worker the right to take messages, or give it back; returns the users that it touched.

    It stops code that does not follow the lockdown flag. A worker that waits in a queue gets an error instead of
    the next message, which stays where it is (Redis 7.2, Valkey). Not kept by the server: after its restart
    the users are again as in its ACL file.
    """
    there, stopped = set(_names(admin)), set(workers(line))
    touched = [user for user in users(line, popping=not on) if user.name in stopped & there]
    for user in touched:
        _set(admin, user, [*BARE, *user.rights])
    return [user.name for user in touched]


@dataclass(frozen=True)
class Difference:
    """A user on the server that is not as the table has it."""

    user: str
    what: str


def differences(admin: Redis, line: Line) -> list[Difference]:
    """Where the server departs from the table."""
    there, wanted = set(_names(admin)), {user.name: user for user in users(line)}
    found = [Difference(name, "is missing") for name in wanted if name not in there]
    found += [Difference(name, "is not one of ours") for name in sorted(there - wanted.keys() - {_DEFAULT})]
    for name in sorted(there & wanted.keys()):
        if _kept(admin, name) != _wanted(wanted[name]):
            found.append(Difference(name, "has other rights than its role"))
    if "on" in _user(admin, _DEFAULT)["flags"]:
        found.append(Difference(_DEFAULT, "is on: who reaches the server needs no user of ours"))
    return found


@dataclass(frozen=True)
class Denial:
    """Something that a user tried and was not allowed to."""

    user: str
    reason: str
    what: str
    count: int


def denials(admin: Redis) -> list[Denial]:
    """What the server denied of late, the latest first."""
    entries: Any = admin.acl_log()
    return [Denial(one["username"], one["reason"], one["object"], one["count"]) for one in entries]


Rights = frozenset[frozenset[str]]
"""A user's selectors as sets of words, for the server has an order of its own; the root is one of them."""


def _wanted(user: User) -> Rights:
    sets = {frozenset(one.strip("()").split()) for one in user.rights if one.startswith("(")}
    root = frozenset(one for one in user.rights if not one.startswith("("))
    return frozenset(sets | ({root} if root else set()))


def _kept(admin: Redis, name: str) -> Rights:
    found = _user(admin, name)
    root = frozenset([*found["categories"], *found["commands"], *found["keys"], *found["channels"]]) - {"-@all"}
    sets = {frozenset(_words(one)) for one in found["selectors"]}
    return frozenset(sets | ({root} if root else set()))


def _words(selector: list[str]) -> list[str]:
    """The words of a selector, which comes as a list of names and values."""
    said = dict(zip(selector[::2], selector[1::2], strict=True))
    words = f"{said['commands']} {said['keys']} {said['channels']}".split()
    return [word for word in words if word != "-@all"]


def _user(admin: Redis, name: str) -> dict[str, Any]:
    found: Any = admin.acl_getuser(name)
    return dict(found)


def _names(admin: Redis) -> list[str]:
    found: Any = admin.acl_users()
    return [str(name) for name in found]


def _set(admin: Redis, user: User, words: list[str]) -> None:
    try:
        admin.execute_command("ACL SETUSER", user.name, *words)
    except NoPermissionError:
        raise
    except ResponseError as error:
        raise ConfigurationError(
            f"the server does not take the user {user.name!r}; it must be Redis 7.2 or Valkey ({error})"
        ) from None


def _save(admin: Redis) -> None:
    """Write the server's ACL file, where it has one."""
    found: Any = admin.config_get("aclfile")
    if not found.get("aclfile"):
        return
    try:
        admin.execute_command("ACL SAVE")
    except ResponseError as error:
        raise ConfigurationError(f"the users are in force until the server restarts: {error}") from None
