"""The users as the server takes them: lines of an ACL file, or the words of `ACL SETUSER`.

Passwords are 256 random bits each, so that their SHA-256, which is all that the server gets to see, needs no salt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from security.acl.grants import selectors
from security.acl.roles import ADMIN, Line, roles

BARE = ("resetkeys", "resetchannels", "clearselectors", "-@all")
"""What comes before a user's rights, so that it has no others."""

_ALL = ("~*", "&*", "+@all")


@dataclass(frozen=True)
class User:
    """One user, and what it may do."""

    name: str
    rights: tuple[str, ...]

    def words(self, password: str | None) -> list[str]:
        """What `ACL SETUSER` is told; without a password nobody can log in as this user."""
        digest = [f"#{hashlib.sha256(password.encode()).hexdigest()}"] if password else []
        return ["on" if password else "off", "sanitize-payload", *digest, *BARE, *self.rights]

    def line(self, password: str | None) -> str:
        """The user in an ACL file."""
        state, _, *rest = self.words(password)
        return " ".join(["user", self.name, state, *(word for word in rest if word != "clearselectors")])


def users(line: Line, *, popping: bool = True) -> list[User]:
    """Every user of a deployment; without `popping` no worker can take a message from a queue."""
    made = [
        User(role, tuple(selectors(one for one in granted if popping or not one.takes)))
        for role, granted in roles(line).items()
    ]
    return [*made, User(ADMIN, _ALL)]


def acl_file(line: Line, passwords: Mapping[str, str]) -> str:
    """The ACL file of a deployment; whoever has no user of this file has no access at all."""
    lines = [one.line(passwords.get(one.name)) for one in users(line)]
    return "\n".join(["user default off resetkeys resetchannels -@all", *lines, ""])
