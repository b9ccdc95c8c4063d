"""A sliding window over a text that is still being written: judged piece by piece before any of it is let out.

*The guarantee.* No character of a text that a rule of this surface refuses is let out before the whole match stands
there to be refused, when the match is at most `hold` characters long and the rule finds it in the text as it is
written, whatever its case. White space that such a match begins with does not count. Longer matches are refused when
they are complete; their beginning may be out by then. What a rule sees only in a decoded view of the text (base64,
leetspeak, split letters) and what a detector sees beside the rules is refused when it is complete, word by word.

*How.* Three things wait: a word that is not finished (a run of visible ASCII); everything from where a match of any
rule may have begun; and never more than `hold` characters. So plain prose waits for the end of a word, and what looks
like the label of a password waits until it is none. Where a rule's beginnings are not known, `hold` characters wait
always.

*What it costs.* What is judged is at most `CONTEXT` characters that are out, and those that wait, once per finished
word: linear in the text. What only shows with more context than that is left to whoever judges the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from security.beginnings import Beginnings, NoBeginnings
from security.redaction.alignment import aligned

CONTEXT = 2048
"""Characters before those that wait, which are judged along with them."""

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_BEFORE = 64
"""Characters before those that wait, by which it is told whether a match may begin at the first of them."""


class Onset:
    """Says where a match of a rule may have begun; `known` is false where that cannot be said."""

    def __init__(self, patterns: Iterable[str]) -> None:
        try:
            self._beginnings: Beginnings | None = Beginnings(patterns)
        except NoBeginnings:
            self._beginnings = None

    @property
    def known(self) -> bool:
        return self._beginnings is not None

    def start(self, before: str, waiting: str, begun: int = 0) -> int:
        """From which of the waiting characters on a match may have begun that is not complete yet.

        Their number where there is none, 0 where it is unknown; negative where it began among the last `begun` of the
        characters `before` them.
        """
        if self._beginnings is None:
            return 0
        place = _first(self._beginnings, before + waiting) - len(before)
        # Nothing else began before what waits, or it would wait: a cut text only seems to begin where it was cut.
        return place if place >= 0 or begun else _first(self._beginnings, waiting)


def _first(beginnings: Beginnings, text: str) -> int:
    plain = aligned(text)
    found = beginnings.start(plain.text)
    return plain.back(found, found + 1)[0] if found < len(plain.text) else len(text)


class Window:
    """Takes pieces of a text, and gives those that may go out; `judge` raises where they may not."""

    def __init__(self, judge: Callable[[str], None], onset: Onset, hold: int) -> None:
        self._judge = judge
        self._onset = onset
        self._hold = hold
        self._context = ""
        self._waiting = ""
        self._judged = 0
        self._begun = 0
        """Characters of a match that is not complete yet which are out already."""

    def feed(self, text: str) -> str:
        """Take a piece; returns what may go out now."""
        self._waiting += text
        ready = self._ready()
        if ready <= self._judged:
            return ""
        self._look(ready)
        return self._let_out(self._settled(ready))

    def close(self) -> str:
        """The text is complete; returns the rest of it."""
        if len(self._waiting) > self._judged:
            self._look(len(self._waiting))
        return self._let_out(len(self._waiting))

    def _ready(self) -> int:
        """How much of what waits is finished words; all of it where a word is longer than anything may wait."""
        finished = len(self._waiting.rstrip(_VISIBLE))
        return finished if len(self._waiting) - finished <= self._hold else len(self._waiting)

    def _look(self, ready: int) -> None:
        self._judge(self._context + self._waiting[:ready])
        self._judged = ready

    def _settled(self, ready: int) -> int:
        """How much may go out: nothing that a match may have begun with, but all that has waited long enough."""
        waiting = self._waiting[:ready]
        before = self._context[-_BEFORE - self._begun :]
        start = self._onset.start(before, waiting, self._begun)
        place = max(start, len(self._waiting) - self._hold, 0)
        place += len(waiting[place:]) - len(waiting[place:].lstrip())
        self._begun = place - start
        return place

    def _let_out(self, length: int) -> str:
        out, self._waiting = self._waiting[:length], self._waiting[length:]
        self._judged -= length
        self._context += out
        if len(self._context) > CONTEXT:
            self._context = _from_word(self._context[-CONTEXT:])
        return out


def _from_word(text: str) -> str:
    """The text from its first white space on, so that no half word is judged; all of it where it has none."""
    return text.lstrip(_VISIBLE) or text
