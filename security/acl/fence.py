"""A server that lets everybody in, made into one on which every role is a user; for systems that start their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from security.acl.passwords import create, database, url_of
from security.acl.roles import Line
from security.acl.server import apply
from security.acl.users import users


def fence(opened: Redis, folder: Path, address: str, extra_queues: Sequence[str] = ()) -> dict[str, str]:
    """Put a user for every role on the server and let nobody else in; returns each user's URL.

    `opened` is a connection that may do everything, `address` the server's URL without a user. The passwords lie
    in the folder, one file for each user, and stay the same the next time.
    """
    line = Line(database(address), extra_queues)
    known = create(folder, address, [user.name for user in users(line)])
    apply(opened, line, known)
    return {name: url_of(address, name, password) for name, password in known.items()}
