"""The trail as a file: JSON lines that can be verified far from the database, with the key ring alone.

{"kind": "switchtower.audit.export", "v": 1}
{"row": {"seq": 1, …, "hash": "…"}}          one for each row, by number
{"head": {…}}                                one for each signed head, as it stands in the mirror
{"end": {"rows": 123, "last": "123:0f…"}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from security.audit.heads import Line, opened
from security.audit.queries import Stored
from security.audit.rows import COLUMNS, Mark, Row, canonical
from switchtower.envelope import KeyRing
from switchtower.errors import AuditBroken

_OPENING = {"kind": "switchtower.audit.export", "v": 1}


def write(file: TextIO, rows: Iterable[Stored], heads: Iterable[Line]) -> Mark:
    """Write everything; returns the last row's mark. `heads` must have been read before the rows."""
    last, count = Mark(), 0
    print(canonical(_OPENING), file=file)
    for stored in rows:
        print(canonical({"row": asdict(stored.row)}), file=file)
        last, count = stored.row.mark, count + 1
    for one in heads:
        print(canonical({"head": json.loads(one.text)}), file=file)
    print(canonical({"end": {"rows": count, "last": str(last)}}), file=file)
    return last


class Export:
    """An exported file; its shape is checked when it is opened. Raises `AuditBroken` naming the bad line."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self._path = path
        self.heads: dict[int, str] = {}
        self.count = -1
        for number, name, value in self._lines():
            if name == "head":
                head = opened(json.dumps(value), ring, f"{path}:{number}")
                self.heads[head.seq] = head.hash
            elif name == "end":
                self.count = int(value["rows"])
        if self.count < 0:
            raise AuditBroken(f"{path} is cut off: its last line is not the end of an export")

    def rows(self) -> Iterator[Stored]:
        """Its rows in the order of the file; a file has no second copy of the facts."""
        for number, name, value in self._lines():
            if name == "row":
                yield Stored(self._row(number, value), None)

    def _row(self, number: int, value: Any) -> Row:
        try:
            return Row(**{name: value[name] for name in COLUMNS})
        except (KeyError, TypeError):
            raise AuditBroken(f"{self._path}:{number}: not a row of the trail") from None

    def _lines(self) -> Iterator[tuple[int, str, Any]]:
        with self._path.open(encoding="utf-8", errors="surrogateescape") as file:
            for number, text in enumerate(file, 1):
                try:
                    ((name, value),) = json.loads(text).items() if number > 1 else [_opening(text)]
                except (ValueError, AttributeError, RecursionError):
                    raise AuditBroken(f"{self._path}:{number}: not a line of an export") from None
                yield number, name, value


def _opening(text: str) -> tuple[str, Any]:
    if json.loads(text) != _OPENING:
        raise ValueError("not an export")
    return "opening", None
