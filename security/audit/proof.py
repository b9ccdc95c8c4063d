"""The proof: walk the chain, and name the first row that is not what was written.

Checked of each row: its number follows, it holds the hash of the row before it, its own hash fits its
content, the queryable facts equal the hashed ones, the source's seal is genuine and says the same as the
columns, and the head that the auditor signed at this row is this row. At the end: no signed head lies
beyond the last row.

Not covered: rows after the last signed head may be cut off unseen; and who holds the auditor's key and
can rewrite both the table and every copy of the heads can write another history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from security.audit.queries import Stored
from security.audit.reading import entry_of, opened
from security.audit.rows import Mark, Row
from security.audit.speakers import NOBODY
from switchtower.envelope import KeyRing
from switchtower.errors import EnvelopeRefused, UnknownKey
from switchtower.messages import Envelope

Heads = Mapping[int, str]
"""The hashes that the auditor has signed, by row number."""


@dataclass(frozen=True)
class Flaw:
    """The first row that is not as it was written, and what is wrong with it."""

    seq: int
    what: str


@dataclass
class Walk:
    """A walk along the chain; `flaw` says where it ended, `last` how far it came."""

    ring: KeyRing | None
    heads: Heads
    last: Mark = field(default_factory=Mark)
    witnessed: int = 0
    """The last row that a signed head vouches for."""
    unknown_keys: int = 0
    """Seals by keys that are in the ring no more: bound by the chain, but not verified again."""
    flaw: Flaw | None = None

    def along(self, rows: Iterable[Stored]) -> Iterator[Row]:
        """Every sound row in turn; ends at the first flaw."""
        for stored in rows:
            what = self._wrong(stored)
            if what:
                self.flaw = Flaw(min(stored.row.seq, self.last.seq + 1), what)
                return
            self._passed(stored.row)
            yield stored.row
        self.flaw = self._cut_off()

    def _passed(self, row: Row) -> None:
        self.last = row.mark
        if row.seq in self.heads:
            self.witnessed = row.seq

    def _wrong(self, stored: Stored) -> str | None:
        row, facts = stored
        expected = self.last.seq + 1
        if row.seq > expected:
            return f"missing: the next row there is {row.seq}"
        if row.seq < expected:
            return f"the number {row.seq} stands there more than once"
        if row.prev_hash != self.last.hash:
            return "it does not follow the row before it (prev_hash)"
        if row.hash != row.expected_hash():
            return f"its content does not fit its hash{self._telltale(row)}"
        if facts is not None and not _same(facts, row.facts_text):
            return "the column facts is not what was hashed (facts_text)"
        return self._wrong_seal(row) or self._wrong_head(row)

    def _wrong_head(self, row: Row) -> str | None:
        if self.heads.get(row.seq, row.hash) == row.hash:
            return None
        return f"the auditor signed another row here; the change lies in rows {self.witnessed + 1} to {row.seq}"

    def _wrong_seal(self, row: Row) -> str | None:
        if self.ring is None:
            return None
        try:
            different = differing(row, self.ring)
        except UnknownKey:
            self.unknown_keys += 1
            return None
        except (EnvelopeRefused, ValueError) as error:
            return f"the source's seal is not genuine ({type(error).__name__})"
        return f"its source sealed something else (column {', '.join(different)})" if different else None

    def _telltale(self, row: Row) -> str:
        """Which columns the source's seal contradicts; none where the hash itself or our own columns changed."""
        try:
            different = differing(row, self.ring) if self.ring else []
        except (EnvelopeRefused, ValueError):
            different = ["seal"]
        return f" (changed: {', '.join(different)})" if different else ""

    def _cut_off(self) -> Flaw | None:
        beyond = max(self.heads, default=0)
        if beyond <= self.last.seq:
            return None
        return Flaw(self.last.seq + 1, f"missing: the trail was cut off, the auditor has signed row {beyond}")


def differing(row: Row, ring: KeyRing) -> list[str]:
    """The columns in which the row is not what its source has sealed.

    Raises `EnvelopeRefused` or `ValueError` where the seal is not genuine. A row that nobody sealed has none.
    """
    if row.seal is None:
        return [] if row.kid is None and row.sealed_by == NOBODY else ["sealed_by"]
    envelope = Envelope.model_validate_json(row.seal)
    sealed = entry_of(opened(envelope, ring), envelope, row.note_hash)
    return [name for name, value in asdict(sealed).items() if getattr(row, name) != value]


def _same(facts: str, hashed: str) -> bool:
    """Whether both texts are the same JSON, with exact numbers, and `true` not the same as 1."""
    try:
        return bool(_exact(facts) == _exact(hashed))
    except (ValueError, RecursionError):
        return False


def _exact(text: str) -> Any:
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str, Decimal]:
    return "number", Decimal(text)
