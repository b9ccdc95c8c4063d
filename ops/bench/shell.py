"""What the shell analysis refuses, what it lets pass, and what it costs; as workers judge commands, rules included.

DIR holds JSON lines with `id`, `text` and `label` (1: destructive): `shell_dcg_*`, whose denials should be blocked and
whose allowed commands should not be flagged; `shell_nl2bash`, labelled harmless, of which whatever is flagged is listed
for a reader to judge; and others, which are only counted. *Flagged* is a risk of high or worse, *caught* an answer
other than allow.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from report import Row, console, finish, parser
from rich.table import Table

from security.packs import RULES, RulePack
from security.shell.analysis import analyse
from security.shell.guardrail import ShellGuardrail
from switchtower.models import Action, RiskLevel, Surface, Verdict

CAUGHT, FALSE_ALARMS, MEDIAN_MS = 0.95, 0.005, 0.2
NOT_DESTRUCTIVE = ("remote_code", "hidden_code", "read_secret", "network_device", "remote_shell", "write_", "open_")
"""Findings that name another danger than destruction; what has no other finding counts as a false alarm in NL2Bash."""


@dataclass(frozen=True)
class Judged:
    """One command of a set with what was said of it."""

    id: str
    text: str
    label: int
    verdict: Verdict
    analysis_ms: float
    guardrail_ms: float

    @property
    def flagged(self) -> bool:
        return self.verdict.risk.at_least(RiskLevel.HIGH)

    @property
    def destroys(self) -> bool:
        """Whether what it was flagged for is destruction."""
        worst = (one.rule.removeprefix("shell_") for one in self.verdict.findings if one.risk.at_least(RiskLevel.HIGH))
        return any(not name.startswith(NOT_DESTRUCTIVE) and name != "pipe_to_shell" for name in worst)


def measure(test: Path) -> tuple[list[Row], dict[str, Any]]:
    """Rows for people and figures for machines about all `shell_*` sets of a folder."""
    guardrail = ShellGuardrail(RulePack.load([RULES]))
    guardrail.judge("ls", Surface.COMMAND)  # what is read once is read now
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for path in sorted(test.glob("shell_*.jsonl")):
        judged = list(_judged(guardrail, path))
        some = _against_labels if "_dcg_" in path.stem else _against_nl2bash if "nl2bash" in path.stem else _counted
        rows += some(path.stem, judged)
        figures[path.stem] = _figures(judged)
    return rows, figures


def _judged(guardrail: ShellGuardrail, path: Path) -> Iterator[Judged]:
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            row = json.loads(line)
            text, began = row["text"], time.process_time()
            analyse(text)
            between = time.process_time()
            verdict = guardrail.judge(text, Surface.COMMAND)
            cost = (between - began) * 1e3, (time.process_time() - between) * 1e3
            yield Judged(str(row["id"]), text, row["label"], verdict, *cost)


def _against_labels(name: str, judged: list[Judged]) -> list[Row]:
    denied, allowed = [one for one in judged if one.label], [one for one in judged if not one.label]
    blocked = [one for one in denied if one.verdict.action is Action.BLOCK]
    asked = [one for one in denied if one.verdict.action is Action.ASK]
    flagged = [one for one in allowed if one.flagged]
    _list(f"{name}: denied, but not blocked", [one for one in denied if one not in blocked])
    _list(f"{name}: allowed, but flagged", flagged)
    share = len(blocked) / max(1, len(denied))
    rows = [
        Row(f"{name}: blocked", f"{len(blocked)} of {len(denied)} ({share:.1%})", f"≥ {CAUGHT:.0%}", share >= CAUGHT)
    ]
    rows += [Row(f"{name}: asked", str(len(asked)))]
    softly = sum(one.verdict.action is not Action.ALLOW for one in allowed) - len(flagged)
    found = f"{len(flagged)} of {len(allowed)}; asked below high: {softly}"
    return [*rows, Row(f"{name}: harmless, flagged", found, "0", not flagged)] if allowed else rows


def _against_nl2bash(name: str, judged: list[Judged]) -> list[Row]:
    flagged = [one for one in judged if one.flagged]
    false = [one for one in flagged if not one.destroys]
    _list(f"{name}: flagged as destructive", [one for one in flagged if one.destroys])
    _list(f"{name}: flagged for something else", false)
    share, analysis = len(false) / len(judged), median(one.analysis_ms for one in judged)
    asked = sum(one.verdict.action is not Action.ALLOW for one in judged) - len(flagged)
    tail = quantiles([one.analysis_ms for one in judged], n=100)[-1]
    whole = median(one.guardrail_ms for one in judged)
    return [
        Row(f"{name}: flagged", f"{len(flagged)} of {len(judged)} ({len(flagged) / len(judged):.2%}); listed above"),
        Row(
            f"{name}: for no destruction", f"{len(false)} ({share:.2%})", f"≤ {FALSE_ALARMS:.1%}", share <= FALSE_ALARMS
        ),
        Row(f"{name}: asked below high", f"{asked} ({asked / len(judged):.1%})"),
        Row(f"{name}: CPU, analysis", f"{analysis:.3f} ms; p99 {tail:.2f}", f"≤ {MEDIAN_MS} ms", analysis <= MEDIAN_MS),
        Row(f"{name}: CPU, with the rules", f"{whole:.3f} ms"),
    ]


def _counted(name: str, judged: list[Judged]) -> list[Row]:
    counts = Counter(one.verdict.action.value for one in judged)
    return [
        Row(name, ", ".join(f"{action.value} {counts[action.value]}" for action in reversed(Action)) + " (dual use)")
    ]


def _figures(judged: list[Judged]) -> dict[str, Any]:
    answers = Counter(f"{one.label}:{one.verdict.action.value}:{one.verdict.risk.value}" for one in judged)
    flagged = {one.id: [finding.rule for finding in one.verdict.findings] for one in judged if one.flagged}
    costs = {
        "analysis_ms": median(one.analysis_ms for one in judged),
        "guardrail_ms": median(one.guardrail_ms for one in judged),
    }
    return {"commands": len(judged), "answers": answers, "flagged": flagged, **costs}


def _list(title: str, judged: list[Judged]) -> None:
    """Print commands for a reader to judge."""
    if not judged:
        return
    table = Table("id", "answer", "found", "command", title=title)
    for one in judged:
        answer = f"{one.verdict.action.value}, {one.verdict.risk.value}"
        table.add_row(
            one.id, answer, "\n".join(finding.rule for finding in one.verdict.findings), one.text.replace("[", "\\[")
        )
    console.print(table)


def main() -> int:
    """Run the bench."""
    arguments = parser(__doc__)
    arguments.add_argument("--test", type=Path, required=True, metavar="DIR", help="the labelled commands")
    said = arguments.parse_args()
    rows, figures = measure(said.test)
    return finish("The shell analysis", rows, figures, said.json)


if __name__ == "__main__":
    raise SystemExit(main())
