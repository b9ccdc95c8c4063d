"""What training learns from: prompts as bags of windows, documents as single pieces that are attacks or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from security.injection.corpus import Row
from security.injection.encoder import Tokens, tokenizer
from security.injection.ngrams import Places, places
from security.injection.scoring import CHUNK, WINDOW, starts
from security.injection.segments import segments
from security.normalize import clean, fold
from switchtower.models import Surface

_SHARED, _FEWEST_SHARED = 0.6, 2
_FEWEST_WORDS = 3
_PROSE = 0.85


@dataclass(frozen=True)
class Bag:
    """One prompt: its windows as places in the list of pieces, its n-grams, its set and label."""

    pieces: tuple[int, ...]
    grams: Places
    set: str
    label: int


@dataclass(frozen=True)
class Piece:
    """One piece of a document."""

    place: int
    grams: Places
    set: str
    label: int


@dataclass(frozen=True)
class Material:
    """All that one training sees; `tokens` are the pieces that bags and pieces point into."""

    tokens: list[Tokens]
    bags: list[Bag]
    pieces: list[Piece]


def material(rows: Sequence[Row], done: Callable[[], None] = lambda: None) -> Material:
    """Cut rows into what can be trained on; calls `done` after each row."""
    cutter = _Cutter()
    for row in rows:
        (cutter.document if row.surface is Surface.DOCUMENT else cutter.prompt)(row)
        done()
    return cutter.material()


class _Cutter:
    def __init__(self) -> None:
        self._tokenizer = tokenizer()
        self._tokens: list[Tokens] = []
        self._bags: list[Bag] = []
        self._pieces: dict[str, Piece] = {}

    def material(self) -> Material:
        return Material(self._tokens, self._bags, list(self._pieces.values()))

    def prompt(self, row: Row) -> None:
        text = clean(row.text)[:CHUNK]
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        own = tuple(self._add(ids[start : start + WINDOW]) for start in starts(len(ids)))
        self._bags.append(Bag(own, places(fold(text)), row.set, row.label))

    def document(self, row: Row) -> None:
        """A piece that is an attack anywhere is one everywhere; where that is unknown, it is left out."""
        for text in segments(clean(row.text)[:CHUNK]):
            label = _label(row, text)
            known = self._pieces.get(text)
            if label is None or (known and known.label >= label):
                continue
            place = known.place if known else self._add(self._tokenizer.encode(text, add_special_tokens=False).ids)
            self._pieces[text] = Piece(place, places(fold(text)), row.set, label)

    def _add(self, tokens: Tokens) -> int:
        self._tokens.append(tokens[:WINDOW])
        return len(self._tokens) - 1


def _label(row: Row, piece: str) -> int | None:
    """1 where the piece holds the order that was put into the document, None where nobody knows.

    Lines of code are nobody's: in a malicious program most lines are like those of any other.
    """
    if not row.label:
        return 0
    if not row.instruction:
        return None
    words, order = _words(piece), _words(row.instruction)
    shared = len(words & order)
    if shared < _FEWEST_SHARED or shared < _SHARED * min(len(words), len(order)):
        return 0
    return 1 if _is_prose(piece) else None


def _words(text: str) -> set[str]:
    return set("".join(sign if sign.isalnum() else " " for sign in text.lower()).split())


def _is_prose(text: str) -> bool:
    plain = sum(sign.isalpha() or sign.isspace() for sign in text)
    return len(text.split()) >= _FEWEST_WORDS and plain >= _PROSE * len(text)


def balanced(items: Iterable[Bag | Piece]) -> NDArray[np.float64]:
    """How often each should be seen, summing to 1: both labels alike, a set by the root of its size."""
    keys = [(item.label, item.set) for item in items]
    counts = Counter(keys)
    whole = {label: sum(n**0.5 for (it, _), n in counts.items() if it == label) for label, _ in counts}
    weights = np.array([counts[key] ** -0.5 / whole[key[0]] for key in keys])
    return weights / weights.sum()  # type: ignore[no-any-return]
