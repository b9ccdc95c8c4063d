"""From tokens to text as it may be shown: whole characters only, and never a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

BROKEN = "\ufffd"
LONGEST_CHARACTER = 4
"""Bytes, and so tokens, of the longest UTF-8 character."""


class Detokenizer:
    """Turns tokens into text one by one; half a character waits for its other half."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._start = 0
        self._shown = 0

    def feed(self, token: int) -> str:
        """The text that this token completes."""
        self._ids.append(token)
        if self._text().endswith(BROKEN) and len(self._ids) - self._shown < LONGEST_CHARACTER:
            return ""
        return self.flush()

    def flush(self) -> str:
        """What has waited, as it stands."""
        # The tokens shown last are decoded along, because some tokenizers strip a leading space.
        old = self._decode(self._ids[self._start : self._shown])
        new = self._text()[len(old) :]
        self._start, self._shown = self._shown, len(self._ids)
        return new

    def _text(self) -> str:
        return self._decode(self._ids[self._start :])


class StopGuard:
    """Lets text pass until a stop string begins; holds back what may become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """The part of the text that can no longer belong to a stop string."""
        if self.hit:
            return ""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            return self._release(min(found))
        return self._release(len(self._held) - self._beginning())

    def flush(self) -> str:
        """What was held back in vain; nothing when a stop string was hit."""
        return "" if self.hit else self._release(len(self._held))

    def _release(self, length: int) -> str:
        passed, self._held = self._held[:length], self._held[length:]
        return passed

    def _beginning(self) -> int:
        """How much of the held text's end is the beginning of a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0


class Transcript:
    """One answer as it grows."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], on_token: Callable[[str], None]) -> None:
        self._detokenizer = Detokenizer(lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)))
        self._guard = StopGuard(stops)
        self._on_token = on_token
        self._pieces: list[str] = []
        self.tokens = 0

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def stopped(self) -> bool:
        """Whether a stop string was written."""
        return self._guard.hit

    def put(self, *tokens: int) -> None:
        """Take the next tokens, and hand out the text that they complete, in one piece."""
        text = ""
        for token in tokens:
            self.tokens += 1
            text += self._guard.feed(self._detokenizer.feed(token))
            if self.stopped:
                break
        self._show(text)

    def finish(self) -> None:
        """Show what was held back."""
        self._show(self._guard.feed(self._detokenizer.flush()))
        self._show(self._guard.flush())

    def _show(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._on_token(piece)
