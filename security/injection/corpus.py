"""Labelled texts for training and measuring: JSON lines, one set a file.

A row holds `id`, `text`, `label` (1 = attack, 0 = benign) and, where rows belong together, `group`. The name of a file
says what its rows are: `jailbreak_*`, `injection_*` and `indirect_*` are attacks, `benign_*` is not, and `indirect_*`
with three of the benign sets are documents. Other files are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from switchtower.errors import ConfigurationError
from switchtower.models import Surface

ATTACKS = ("jailbreak_", "injection_", "indirect_")
BENIGN = "benign_"
DOCUMENTS = (
    "indirect_",
    "benign_bipia_context",
    "benign_injecagent_templates",
    "benign_t0_documents",
    "own_orders",
    "own_documents",
)


@dataclass(frozen=True)
class Row:
    """One labelled text; `group` may be empty; `instruction` is what an attacker put into a document."""

    set: str
    id: str
    text: str
    label: int
    group: str = ""
    instruction: str = ""

    @property
    def surface(self) -> Surface:
        """Where such a text stands in real life."""
        return Surface.DOCUMENT if self.set.startswith(DOCUMENTS) else Surface.INPUT

    @property
    def half(self) -> int:
        """0 or 1, the same for all rows of a group."""
        return sha256(f"{self.set}|{self.group or self.id}".encode()).digest()[0] & 1


def read(folder: Path, prefixes: Iterable[str] = (*ATTACKS, BENIGN)) -> list[Row]:
    """All rows of the sets whose names begin so, sorted by set; raises `ConfigurationError` where there are none."""
    files = sorted(path for prefix in prefixes for path in folder.glob(f"{prefix}*.jsonl"))
    rows = [row for path in files for row in _rows(path)]
    if not rows:
        raise ConfigurationError(f"{folder} holds no labelled sets (jailbreak_*.jsonl, benign_*.jsonl, …)")
    return rows


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                table = json.loads(line)
                row = Row(
                    path.stem,
                    str(table["id"]),
                    str(table["text"]),
                    int(table["label"]),
                    str(table.get("group") or ""),
                    str(table.get("instruction") or ""),
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigurationError(f"{path}:{number}: not a row with id, text and label") from error
            yield row
