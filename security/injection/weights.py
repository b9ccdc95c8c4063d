"""The trained part of the detector as one small file: what is added to the encoder, its heads, the n-gram tables.

A safetensors file of 16-bit numbers; its metadata holds the curves that tell which score goes with which share of
refused harmless texts. The file's SHA-256 is the detector's version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from security.injection.ngrams import TABLE
from switchtower.errors import ConfigurationError
from switchtower.models import Surface

SHIPPED = Path(__file__).parent / "weights.safetensors"
FORMAT = "1"
SURFACES = (Surface.INPUT, Surface.DOCUMENT)
"""In the order of the heads."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Curve:
    """Shares of harmless texts that score above; `shares` rise, `scores` fall."""

    shares: tuple[float, ...]
    scores: tuple[float, ...]

    def threshold(self, share: float) -> float:
        """The score that this share of harmless texts exceeds; between known points on a logarithmic scale."""
        inside = min(max(share, self.shares[0]), self.shares[-1])
        return float(np.interp(np.log(inside), np.log(self.shares), self.scores))


@dataclass(frozen=True)
class Weights:
    """Everything that training finds."""

    adapters: dict[str, Array]
    """Low-rank pairs by the name of their linear layer: `3.query.a` is (rank, in), `3.query.b` (out, rank)."""
    head: Array
    """(2, 769): a row per surface, the bias last."""
    grams: Array
    """(2, 131073): a row per surface, the bias last."""
    curves: dict[str, Curve]
    """By `<tier>.<surface>`; tiers are `fused` and `ngrams`."""
    version: str = ""

    def curve(self, tier: str, surface: Surface) -> Curve:
        """What a tier's scores mean on a surface."""
        return self.curves[f"{tier}.{surface}"]


def load(path: Path = SHIPPED) -> Weights:
    """Read a weights file; raises `ConfigurationError` where it is missing, damaged or of another format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        return _weights(tensors, metadata, sha256(path.read_bytes()).hexdigest())
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        reason = f"the injection detector's weights cannot be read from {path}: {error}; "
        raise ConfigurationError(f"{reason}train them with `python -m security.injection.train`") from error


def save(weights: Weights, path: Path) -> None:
    """Write a weights file that `load` reads."""
    from safetensors.numpy import save_file

    tensors = {f"adapter.{name}": values.astype(np.float16) for name, values in weights.adapters.items()}
    tensors |= {"head": weights.head.astype(np.float16), "grams": weights.grams.astype(np.float16)}
    curves = {name: [curve.shares, curve.scores] for name, curve in weights.curves.items()}
    save_file(tensors, path, {"format": FORMAT, "curves": json.dumps(curves)})


def _weights(tensors: dict[str, Array], metadata: dict[str, str], version: str) -> Weights:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format {metadata.get('format', 'unknown')}, not {FORMAT}")
    found = Weights(
        adapters={name.removeprefix("adapter."): it for name, it in tensors.items() if name.startswith("adapter.")},
        head=tensors["head"],
        grams=tensors["grams"],
        curves={name: _curve(*points) for name, points in json.loads(metadata["curves"]).items()},
        version=version,
    )
    if found.grams.shape != (len(SURFACES), TABLE + 1) or not all(np.isfinite(it).all() for it in tensors.values()):
        raise ValueError("tensors of the wrong shape, or not finite")
    return found


def _curve(shares: list[float], scores: list[float]) -> Curve:
    rising = all(a < b for a, b in pairwise(shares)) and all(a >= b for a, b in pairwise(scores))
    if not rising or not shares or len(shares) != len(scores):
        raise ValueError("a curve that is none")
    return Curve(tuple(shares), tuple(scores))
