"""Train the injection detector's weights: `python -m security.injection.train --data DIR`.

DIR holds labelled sets as JSON lines (see `corpus.py`). Three trainings: one on each half of every set, whose scores on
the other half say what a score means, and one on everything, which is kept. Seeds are fixed; on another CPU the last
digits differ. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from security.injection import fitting
from security.injection.bags import material
from security.injection.corpus import Row, read
from security.injection.measure import Scores, curves, scored
from security.injection.scoring import Scorer
from security.injection.synthetic import made
from security.injection.weights import SHIPPED, Weights, save

_TIERS = {"fused": True, "ngrams": False}


@contextmanager
def shown() -> Iterator[Progress]:
    """A bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield bar


def fitted(rows: Sequence[Row], bar: Progress, name: str, steps: int = fitting.STEPS) -> Weights:
    """Weights without curves, from these rows and our own."""
    task = bar.add_task(name, total=3)
    found = material([*rows, *made(rows)])
    bar.update(task, completed=1, description=f"{name}: lower layers")
    depth = fitting.depths(found, lambda share: bar.update(task, completed=share))
    bar.update(task, description=f"{name}: fine-tuning")
    student = fitting.fine_tune(found, depth, steps, progress=lambda share: bar.update(task, completed=1 + 2 * share))
    weights = fitting.packed(student, fitting.tables(found))
    bar.update(task, completed=3, description=name)
    return weights


def judged(weights: Weights, rows: Sequence[Row], bar: Progress, name: str, tier: str = "fused") -> Scores:
    """The scores that a detector with these weights gives."""
    task = bar.add_task(f"{name}: scoring, {tier}", total=len(rows))
    scorer = Scorer(weights, encoder=_TIERS[tier])
    return scored(rows, scorer.score, lambda: bar.advance(task))


def trained(rows: Sequence[Row], bar: Progress, steps: int = fitting.STEPS) -> tuple[Weights, dict[str, Scores]]:
    """Weights from all rows, with curves from rows that were not trained on; and those scores by tier."""
    parts: dict[str, list[Scores]] = {tier: [] for tier in _TIERS}
    for half in (0, 1):
        name = f"half {half + 1}"
        weights = fitted([row for row in rows if row.half == half], bar, name, steps)
        for tier in _TIERS:
            parts[tier].append(judged(weights, [row for row in rows if row.half != half], bar, name, tier))
    scores = {tier: _joined(both) for tier, both in parts.items()}
    found = {key: curve for tier, both in scores.items() for key, curve in curves(tier, both).items()}
    return replace(fitted(rows, bar, "everything", steps), curves=found), scores


def _joined(parts: Sequence[Scores]) -> Scores:
    names = sorted({name for part in parts for name in part})
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def main() -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of labelled sets")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the weights file to write")
    parser.add_argument("--steps", type=int, default=fitting.STEPS, help="of gradient descent, per training")
    said = parser.parse_args()
    with shown() as bar:
        weights, _ = trained(read(said.data), bar, said.steps)
    save(weights, said.out)
    Console().print(f"{said.out}: {said.out.stat().st_size / 1e6:.1f} MB; measure it with ops/bench/guardrail.py")


if __name__ == "__main__":
    main()
