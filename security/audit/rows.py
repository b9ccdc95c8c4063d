"""A row of the trail, and its hash.

The hash is the SHA-256 of a domain name, a zero byte and the row without its hash as canonical JSON
(RFC 8785: keys sorted, no white space, UTF-8; it holds strings, integers and nulls only). The row holds
the hash of the row before it, so that a change anywhere changes every later hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

GENESIS = "0" * 64
"""What the first row has in place of an earlier row's hash."""

_DOMAIN = b"switchtower.audit.row.v1\0"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of one event, before it has its place in the chain."""

    at: int
    event: str
    topic: str
    outcome: str
    actor: str
    job: str
    tenant: str
    username: str
    sealed_by: str
    kid: str | None = None
    facts_text: str = "{}"
    text_hash: str | None = None
    excerpt: str | None = None
    seal: str | None = None
    note_hash: str


@dataclass(frozen=True, kw_only=True)
class Row(Entry):
    """An entry in its place."""

    seq: int
    written: int
    prev_hash: str
    hash: str = ""

    @classmethod
    def after(cls, head: Mark, entry: Entry, written: int) -> Row:
        """The row that follows the head."""
        placed = cls(**asdict(entry), seq=head.seq + 1, written=written, prev_hash=head.hash)
        return cls(**asdict(placed) | {"hash": placed.expected_hash()})

    def expected_hash(self) -> str:
        """The hash that this row should bear."""
        content = {name: value for name, value in asdict(self).items() if name != "hash"}
        return hashlib.sha256(_DOMAIN + canonical(content).encode()).hexdigest()

    @property
    def mark(self) -> Mark:
        return Mark(self.seq, self.hash)


@dataclass(frozen=True)
class Mark:
    """A place in the chain: a row's number and hash."""

    seq: int = 0
    hash: str = GENESIS

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash[:16]}"


COLUMNS = tuple(field.name for field in fields(Row))
"""Every hashed column and the hash itself, by name."""


def canonical(value: Any) -> str:
    """JSON in its one canonical spelling; raises `ValueError` at numbers that JSON does not have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
