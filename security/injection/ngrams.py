"""Hashed n-grams of a text: characters two to five long and one to three words, as places in a table.

All hashes of one length are made in one pass over the code points (polynomial rolling hash, Karp and Rabin 1987), so
that a prompt costs a few tenths of a millisecond and no vocabulary has to be shipped (feature hashing, Weinberger
et al. 2009).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 17
TABLE = 1 << BITS
CHARACTERS = (2, 3, 4, 5)
WORDS = (1, 2, 3)

Places = NDArray[np.int64]

_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(33)
_TOP = np.uint64(64 - BITS)


def places(folded: str) -> Places:
    """The places in the table that the n-grams of a folded text fall on, each once, in rising order.

    Runs of white space are one space.
    """
    words = folded.split()
    if not words:
        return np.empty(0, dtype=np.int64)
    text = f" {' '.join(words)} "
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    with np.errstate(over="ignore"):
        found = [_characters(points, size) for size in CHARACTERS]
        found += _words(points)
    seen = np.zeros(TABLE, dtype=bool)
    seen[np.concatenate(found)] = True
    return np.flatnonzero(seen)


def _characters(points: NDArray[np.uint64], size: int) -> Places:
    if len(points) < size:
        return np.empty(0, dtype=np.int64)
    last = len(points) - size + 1
    rolled = points[:last]
    for step in range(1, size):
        rolled = rolled * _BASE + points[step : step + last]
    return _placed(rolled, size)


def _words(points: NDArray[np.uint64]) -> list[Places]:
    """One hash per word from its points and their positions in it, then combined for neighbours."""
    spaces = np.flatnonzero(points == ord(" "))
    starts = spaces[:-1] + 1
    owner = np.cumsum(points == ord(" "))
    place = (np.arange(len(points)) - spaces[owner - 1]).astype(np.uint64)
    marked = (points * _BASE + place) * _MIX
    marked ^= marked >> _SHIFT
    marked[spaces] = 0
    hashes = np.add.reduceat(marked[: spaces[-1]], starts)
    found = []
    for size in WORDS:
        last = len(hashes) - size + 1
        if last > 0:
            joined = hashes[:last]
            for step in range(1, size):
                joined = joined * _BASE + hashes[step : step + last]
            found.append(_placed(joined, 64 + size))
    return found


def _placed(hashes: NDArray[np.uint64], salt: int) -> Places:
    mixed = (hashes + np.uint64(salt)) * _MIX
    mixed ^= mixed >> _SHIFT
    return ((mixed * _BASE) >> _TOP).astype(np.int64)
