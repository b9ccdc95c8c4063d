"""Figures of a detector on labelled sets: every set for itself, never pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from security.injection.corpus import BENIGN, Row
from security.injection.weights import Curve
from switchtower.models import Surface

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
"""Of harmless texts, for which a curve is noted."""

Scores = Mapping[str, NDArray[np.float64]]
"""By set."""
Score = Callable[[str, Surface], float]


def scored(rows: Iterable[Row], score: Score, done: Callable[[], None] = lambda: None) -> Scores:
    """Each row's score on its own surface, by set; an attack set's harmless rows are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.label or row.set.startswith(BENIGN):
            found.setdefault(row.set, []).append(score(row.text, row.surface))
        done()
    return {name: np.array(values) for name, values in found.items()}


def surface_of(name: str) -> Surface:
    """Where the texts of a set stand."""
    return Row(name, "", "", 0).surface


def threshold(benign: Sequence[NDArray[np.float64]], share: float) -> float:
    """The lowest score that at most this share of harmless texts exceeds, on average over their sets."""
    scores = np.concatenate(list(benign))
    weights = np.concatenate([np.full(len(one), 1 / len(one) / len(benign)) for one in benign])
    order = np.argsort(-scores, kind="stable")
    above = np.searchsorted(np.cumsum(weights[order]), share + 1e-12, side="right")
    return float(scores[order][min(int(above), len(scores) - 1)])


def curves(tier: str, scores: Scores) -> dict[str, Curve]:
    """What scores mean on each surface, by the harmless sets among them."""
    found = {}
    for surface in (Surface.INPUT, Surface.DOCUMENT):
        benign = [it for name, it in scores.items() if name.startswith(BENIGN) and surface_of(name) is surface]
        found[f"{tier}.{surface}"] = Curve(SHARES, tuple(threshold(benign, share) for share in SHARES))
    return found


def rate(scores: NDArray[np.float64], above: float) -> float:
    """The share of scores above a threshold."""
    return float((scores > above).mean())


def thresholds(scores: Scores, share: float) -> dict[Surface, float]:
    """The threshold of each surface at this share of false positives on the harmless sets among the scores."""
    found = {}
    for surface in (Surface.INPUT, Surface.DOCUMENT):
        benign = [it for name, it in scores.items() if name.startswith(BENIGN) and surface_of(name) is surface]
        found[surface] = threshold(benign, share) if benign else float("nan")
    return found
