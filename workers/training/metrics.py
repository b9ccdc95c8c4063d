"""How an answer is scored: each metric takes an answer and its record and gives 0 to 1."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from workers.training.records import Record

Metric = Callable[[str, Record], float]


def exact(answer: str, record: Record) -> float:
    """1 when the answer is the reference, but for case and surrounding space."""
    return float(answer.strip().casefold() == record.answer.strip().casefold())


def steps(answer: str, record: Record) -> float:
    """F1 of the longest common subsequence of two JSON lists of steps; 0 when the answer is no such list."""
    found, wanted = _parsed(answer), _parsed(record.answer)
    if not isinstance(found, list) or not all(isinstance(step, str) for step in found):
        return 0.0
    return _f1(_common(found, wanted), len(found), len(wanted))


def filing(answer: str, record: Record) -> float:
    """Half for the right folder, half for the F1 of the tags; 0 when the answer is not such an object."""
    found, wanted = _parsed(answer), _parsed(record.answer)
    if not isinstance(found, dict) or found.keys() != wanted.keys() or not isinstance(found["tags"], list):
        return 0.0
    tags, reference = {str(tag).casefold() for tag in found["tags"]}, set(wanted["tags"])
    right = float(found["folder"] == wanted["folder"])
    return right / 2 + _f1(len(tags & reference), len(tags), len(reference)) / 2


def announcement(answer: str, record: Record) -> float:
    """The share of facts that stand in their line; 0 when a line is missing, too many or begins wrongly."""
    found, wanted = answer.strip().splitlines(), record.answer.splitlines()
    if len(found) != len(wanted) or any(_start(a) != _start(b) for a, b in zip(found, wanted, strict=True)):
        return 0.0
    hits = [_has(line, fact) for fact in record.facts for line, by in zip(found, wanted, strict=True) if _has(by, fact)]
    return sum(hits) / len(hits)


def clarification(answer: str, record: Record) -> float:
    """1 for `clear` where all is there, and for one question that names what is missing and nothing else."""
    text = answer.strip().casefold()
    if not record.facts:
        return float(text.rstrip(".") == "clear")
    named = {name for name in ("subject", "audience", "deadline") if name in text}
    return float(text.endswith("?") and text.count("?") == 1 and named == set(record.facts))


METRICS: dict[str, Metric] = {metric.__name__: metric for metric in (exact, steps, filing, announcement, clarification)}


def mean_score(metric: str, answers: Sequence[str], records: Sequence[Record]) -> float:
    """The mean of a metric over a set of answers."""
    scores = [METRICS[metric](answer, record) for answer, record in zip(answers, records, strict=True)]
    return sum(scores) / len(scores)


def constant_score(metric: str, train: Sequence[Record], heldout: Sequence[Record]) -> float:
    """What the commonest training answer would score, given to everything."""
    commonest, _ = Counter(record.answer for record in train).most_common(1)[0]
    return mean_score(metric, [commonest] * len(heldout), heldout)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _f1(common: int, found: int, wanted: int) -> float:
    return 2 * common / (found + wanted) if common else 0.0


def _common(left: list[str], right: list[str]) -> int:
    row = [0] * (len(right) + 1)
    for item in left:
        previous = row
        row = [0]
        for place, other in enumerate(right):
            row.append(previous[place] + 1 if item == other else max(previous[place + 1], row[place]))
    return row[-1]


def _start(line: str) -> str:
    return "# " if line.startswith("# ") else line.partition(": ")[0]


def _has(line: str, fact: str) -> bool:
    return fact.casefold() in line.casefold()
