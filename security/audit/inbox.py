"""The Redis stream that events wait on, as its one reader sees it.

Entries are read from the front and deleted once they are in the database, so that what is there is what
waits. A crash in between delivers them again; the trail knows its notes by their hash. A consumer group
would only add a second list of what is pending.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from switchtower.jobs import AUDIT
from switchtower.messages import now_ms
from switchtower.queues import key

WRITER = key("audit", "writer")
"""A hash: how many entries were taken so far, and what the writer does, for those who look."""


LOST_COUNT = "stream-lost"
"""The broker has forgotten how many entries were taken, and may have forgotten entries as well."""


@dataclass(frozen=True)
class Letter:
    """An entry of the stream and the bytes of its note."""

    mark: bytes
    raw: bytes


@dataclass(frozen=True)
class Loss:
    """What became of entries that never reached the reader; how many is unknown where the stream began anew."""

    outcome: str
    count: int | None
    taken: int
    """The number of entries that counts as taken once the loss has been recorded."""


class Inbox:
    """The stream; needs a client that does not decode, because a note may hold any bytes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def read(self, count: int, wait_ms: int) -> list[Letter]:
        """The oldest entries, after waiting for the first of them."""
        found: Any = self._redis.xread({AUDIT: "0"}, count=count, block=wait_ms)
        return [Letter(mark, _note(fields)) for _, entries in found or () for mark, fields in entries]

    def take(self, letters: list[Letter]) -> bool:
        """Delete entries that are in the database now, and count them; false where there was nothing to count on."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hexists(WRITER, "taken")
            pipe.xdel(AUDIT, *(letter.mark for letter in letters))
            pipe.hincrby(WRITER, "taken", len(letters))
            return bool(pipe.execute()[0])

    def begin(self) -> None:
        """Count from nothing: the trail is empty, so that all that was ever added must come to it."""
        self._redis.hsetnx(WRITER, "taken", 0)

    def loss(self) -> Loss | None:
        """What was lost since the last time; for the reader only, while it holds nothing that is not taken."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xinfo_stream(AUDIT)
            pipe.hget(WRITER, "taken")
            stream, before = pipe.execute(raise_on_error=False)
        if isinstance(stream, ResponseError) and "no such key" in str(stream):
            stream = {"entries-added": 0, "length": 0}
        elif isinstance(stream, Exception):
            raise stream
        return _compare(int(stream["entries-added"]), int(stream["length"]), before)

    def settle(self, taken: int) -> None:
        """Count so many entries as taken, now that the loss of some is on record."""
        self._redis.hset(WRITER, "taken", taken)

    def say(self, state: str) -> None:
        """Let those who look know what the writer does."""
        self._redis.hset(WRITER, mapping={"state": state[:300], "at": now_ms()})


def _compare(added: int, waiting: int, before: bytes | None) -> Loss | None:
    """Every entry that was ever added has been taken, or waits, or is lost."""
    gone = added - waiting
    if before is None:
        return Loss(LOST_COUNT, None, gone)
    lost = gone - int(before)
    if lost > 0:
        return Loss("lost", lost, gone)
    return Loss("stream-reset", None, gone) if lost < 0 else None


def _note(fields: dict[bytes, bytes]) -> bytes:
    """The entry's note; an entry of another shape as one text, which then is no note."""
    if set(fields) == {b"e"}:
        return fields[b"e"]
    return b"\0".join(part for pair in sorted(fields.items()) for part in pair) + b"\0"
