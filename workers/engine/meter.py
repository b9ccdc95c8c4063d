"""What the engine has done lately: tokens a second, rows in a step, how long requests waited."""

from __future__ import annotations

import time

HALF_LIFE_S = 5.0
SHORTEST_S = 0.2
"""A rate over less than this says nothing."""


class Meter:
    """Written by the engine's thread, read by anyone; means fade with a half-life of five seconds."""

    def __init__(self) -> None:
        self.tokens = 0
        self.steps = 0
        self.shrunk = 0
        self.rows = 0.0
        self.wait_s = 0.0
        self.step_s = 0.0
        self.began: float | None = None
        """When the running step began; nothing between two steps."""
        self._seen = (time.monotonic(), 0)
        self._rate = 0.0

    def begin(self, rows: int) -> None:
        self.began = time.monotonic()
        self.rows += 0.1 * (rows - self.rows)

    def end(self) -> None:
        began = self.began or time.monotonic()
        self.began = None
        self.steps += 1
        self.step_s += 0.1 * (time.monotonic() - began - self.step_s)

    def waited(self, seconds: float) -> None:
        self.wait_s += 0.1 * (seconds - self.wait_s)

    def rate(self) -> float:
        """Tokens a second since about the last few times this was asked."""
        now, (then, before) = time.monotonic(), self._seen
        passed = now - then
        if passed > SHORTEST_S:
            fade = 0.5 ** (passed / HALF_LIFE_S)
            self._rate = fade * self._rate + (1 - fade) * (self.tokens - before) / passed
            self._seen = (now, self.tokens)
        return self._rate

    def stuck_for(self) -> float:
        """Seconds that the running step has taken."""
        began = self.began
        return 0.0 if began is None else time.monotonic() - began
