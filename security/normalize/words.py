"""Words that orders to a model are made of; they tell letters apart that look alike, and words that run together."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

WORDS = frozenset((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())
_LONGEST = max(map(len, WORDS))


@lru_cache(maxsize=256)
def parted(run: str) -> str:
    """A run of letters as the fewest words that it is made of, or as it came where it is made of others."""
    best: list[tuple[int, int] | None] = [(0, 0)]
    for end in range(1, len(run) + 1):
        starts = range(max(0, end - _LONGEST), end)
        ways = [(found[0] + 1, start) for start in starts if (found := best[start]) and run[start:end].lower() in WORDS]
        best.append(min(ways, default=None))
    return _joined(run, best)


def _joined(run: str, best: list[tuple[int, int] | None]) -> str:
    words, end = [], len(run)
    while end and (found := best[end]):
        words.append(run[found[1] : end])
        end = found[1]
    return " ".join(reversed(words)) if not end else run
