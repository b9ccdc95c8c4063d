"""How much of what is private the redaction finds, how much it takes that is not, and what it costs.

DIR holds JSON lines: `pii_*.jsonl` with `text` and `spans` of [type, start, end], `secrets_*.jsonl` with `text` and
`label` (1: holds a secret), and `benign_*.jsonl` with `text`. Sets that are not there are left out.

A private value counts as hidden when every character of it lies in something that was redacted, whatever it was
taken for: what is left is what leaks. A redaction counts as right when it touches a labelled value.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report import Row, finish, parser

from security.redaction.entities import Entity, Kind
from security.redaction.redactor import Redactor

_PER = 1000
_TAG = "bench"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


class Bench:
    """Finds entities and keeps count of characters and seconds."""

    def __init__(self) -> None:
        self._redactor = Redactor()
        self.characters, self.seconds = 0, 0.0
        self.found("warm-up")

    def found(self, text: str) -> list[Entity]:
        began = time.process_time()
        entities = self._redactor.entities((text,), _TAG)[0]
        self.seconds += time.process_time() - began
        self.characters += len(text)
        return entities


def covered(start: int, end: int, entities: list[Entity]) -> bool:
    """Whether all characters of a stretch lie in entities."""
    inside = {place for one in entities for place in range(one.start, one.end)}
    return inside >= set(range(start, end))


def touches(one: Entity, spans: list[list[Any]]) -> bool:
    return any(start < one.end and one.start < end for _, start, end in spans)


def private(bench: Bench, rows: list[dict[str, Any]]) -> tuple[list[Row], dict[str, Any]]:
    """Recall by labelled type, precision by our kind."""
    wanted, hidden, partly = Counter[str](), Counter[str](), Counter[str]()
    taken, right = Counter[str](), Counter[str]()
    for row in rows:
        entities = bench.found(row["text"])
        for kind, start, end in row["spans"]:
            wanted[kind] += 1
            hidden[kind] += covered(start, end, entities)
            partly[kind] += any(touches(one, [[kind, start, end]]) for one in entities)
        for one in entities:
            taken[one.kind] += 1
            right[one.kind] += touches(one, row["spans"])
    recall = [
        Row(f"hidden: {kind}", f"{_share(hidden[kind], count)}; touched {partly[kind] / count:.0%}")
        for kind, count in wanted.most_common()
    ]
    precision = [Row(f"right: {kind}", _share(right[kind], count)) for kind, count in taken.most_common()]
    return [*recall, *precision], {"wanted": wanted, "hidden": hidden, "taken": taken, "right": right}


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(1, whole):.0%})"


def secret(bench: Bench, rows: list[dict[str, Any]]) -> tuple[list[Row], dict[str, Any]]:
    """Texts with a secret in which one was found, and texts without in which one was."""
    found = Counter[tuple[int, bool]]()
    for row in rows:
        entities = bench.found(row["text"])
        found[row["label"], any(one.kind is Kind.SECRET for one in entities)] += 1
    with_one, without = found[1, True] + found[1, False], found[0, True] + found[0, False]
    said = [
        Row("texts with a secret, found", _share(found[1, True], with_one)),
        Row("texts with a mock, taken for one", _share(found[0, True], without)),
    ]
    return said, {"hit": found[1, True], "with": with_one, "false": found[0, True], "without": without}


def benign(bench: Bench, name: str, rows: list[dict[str, Any]]) -> tuple[list[Row], dict[str, Any]]:
    """Redactions per 1000 characters of texts that were not written to hold private values."""
    kinds: defaultdict[str, int] = defaultdict(int)
    characters = 0
    for row in rows:
        characters += len(row["text"])
        for one in bench.found(row["text"]):
            kinds[one.kind] += 1
    total = sum(kinds.values())
    most = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items(), key=lambda pair: -pair[1])[:5])
    rate = total * _PER / max(1, characters)
    return [Row(name, f"{rate:.2f} per 1000 characters ({most})")], {"rate": rate, "kinds": kinds}


def measured(bench: Bench, folder: Path) -> Iterator[tuple[str, tuple[list[Row], dict[str, Any]]]]:
    for path in sorted(folder.glob("*.jsonl")):
        kind = path.name.partition("_")[0]
        if kind == "pii":
            yield path.stem, private(bench, rows_of(path))
        elif kind == "secrets":
            yield path.stem, secret(bench, rows_of(path))
        elif kind == "benign":
            yield path.stem, benign(bench, path.stem, rows_of(path))


def main() -> int:
    """Run the bench."""
    options = parser(__doc__)
    options.add_argument("--test", type=Path, required=True, metavar="DIR", help="the labelled texts")
    said = options.parse_args()
    bench = Bench()
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for name, (some, facts) in measured(bench, said.test):
        rows += some
        figures[name] = facts
    cost = bench.seconds / max(1, bench.characters) * 1e9
    rows.append(Row("CPU", f"{cost:.0f} µs per 1000 characters, over {bench.characters:,} characters"))
    return finish("redaction", rows, figures | {"ns_per_character": cost}, said.json)


if __name__ == "__main__":
    raise SystemExit(main())
