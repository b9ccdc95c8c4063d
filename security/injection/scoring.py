"""From a text to one score: what the n-grams say, what the encoder says, and which of them is asked.

A prompt is judged whole by its n-grams and in windows of 96 tokens by the encoder; a document piece by piece by both,
because an order of one sentence drowns in a page. Scores are sums of logits: comparable on one surface only.

Cost: the encoder takes about 7 ms for 96 tokens on one core, so it reads only as much as the limits here say.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from security.injection.ngrams import places
from security.injection.segments import segments
from security.injection.weights import SURFACES, Weights
from security.normalize import clean, fold
from switchtower.models import Surface

if TYPE_CHECKING:
    from security.injection.encoder import Encoder, Tokens

WINDOWS = 3
"""Of a long prompt the encoder reads so many windows: the first, the last, and those that the n-grams suspect most."""
SEGMENTS = 8
"""Of a document it reads so many pieces, those that the n-grams suspect most."""
CLEAR = 5.0
"""An n-gram logit beyond this is not argued with. Nothing long is clearly harmless: padding dilutes n-grams."""
CHUNK = 20_000
"""Characters that are scored together; of a longer text the worst chunk counts, and chunks overlap."""
WINDOW, STRIDE = 96, 80
"""Tokens of a window, and how far the next one begins after it."""

_SHORT = 320
_OVERLAP = 1_000


class Scorer:
    """Scores texts; loads the encoder when it is needed first. Safe to share between threads."""

    def __init__(self, weights: Weights, *, encoder: bool = True) -> None:
        self._grams, self._bias = weights.grams[:, :-1], weights.grams[:, -1]
        self._weights, self._wanted = weights, encoder
        self._loading = Lock()
        self._encoder: Encoder | None = None

    @property
    def tier(self) -> str:
        """Which of the weights' curves its scores belong to."""
        return "fused" if self._wanted else "ngrams"

    def score(self, text: str, surface: Surface) -> float:
        """How much the text looks like an attack; more is worse."""
        judge = self._document if surface is Surface.DOCUMENT else self._prompt
        return max(judge(chunk) for chunk in chunks(clean(text)))

    def warm(self) -> None:
        """Load the encoder now instead of with the first text that needs it."""
        if self._wanted:
            self._loaded()

    def _prompt(self, text: str) -> float:
        grams = self._gram(text, Surface.INPUT)
        if not self._wanted:
            return grams
        if grams > CLEAR or (grams < -CLEAR and len(text) < _SHORT):
            return grams + float(np.copysign(CLEAR, grams))
        encoder = self._loaded()
        windows = self._windows(encoder, text)
        return float(np.logaddexp.reduce(encoder.logits(windows, Surface.INPUT))) + grams

    def _windows(self, encoder: Encoder, text: str) -> list[Tokens]:
        found = encoder.tokens([text])[0]
        spans = [slice(start, start + WINDOW) for start in starts(len(found.ids))]
        if len(spans) > WINDOWS:
            middle = [(self._gram(_excerpt(text, found.offsets[span]), Surface.INPUT), span) for span in spans[1:-1]]
            suspects = sorted(middle, key=lambda it: it[0], reverse=True)[: WINDOWS - 2]
            spans = [spans[0], *(span for _, span in suspects), spans[-1]]
        return [found.ids[span] for span in spans]

    def _document(self, text: str) -> float:
        pieces = segments(text)
        grams = np.array([self._gram(piece, Surface.DOCUMENT) for piece in pieces])
        if not self._wanted:
            return float(grams.max())
        encoder = self._loaded()
        chosen = np.argsort(-grams, kind="stable")[:SEGMENTS]
        tokens = [found.ids for found in encoder.tokens([pieces[place] for place in chosen])]
        return float((encoder.logits(tokens, Surface.DOCUMENT) + grams[chosen]).max())

    def _gram(self, text: str, surface: Surface) -> float:
        row, found = SURFACES.index(surface), places(fold(text))
        return float(self._grams[row, found].sum() / np.sqrt(max(1, len(found))) + self._bias[row])

    def _loaded(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                from security.injection.encoder import Encoder

                self._encoder = Encoder(self._weights)
            return self._encoder


def chunks(text: str) -> list[str]:
    """The text in overlapping parts that are short enough to be scored; nothing is left out."""
    ends = range(CHUNK, len(text) + CHUNK - _OVERLAP, CHUNK - _OVERLAP)
    return [text[end - CHUNK : end] for end in ends] or [text]


def starts(length: int) -> range:
    """Where the windows over so many tokens begin; the last one holds the last token."""
    return range(0, max(1, length - WINDOW + STRIDE), STRIDE)


def _excerpt(text: str, offsets: list[tuple[int, int]]) -> str:
    return text[offsets[0][0] : offsets[-1][1]]
