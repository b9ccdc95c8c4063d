"""The stop byte: shared memory that says whether work may go on, for threads and forked children alike."""

from __future__ import annotations

import time
from ctypes import c_double
from multiprocessing.sharedctypes import RawArray


class Halt:
    """Set while the line is locked, and whenever nobody has read the flag for `stale_s` seconds."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._shared = RawArray(c_double, 3)  # open? read when (monotonic, host-wide)? stopping?

    def saw(self, is_open: bool) -> None:
        """Record what the flag said just now."""
        self._shared[1] = time.monotonic()
        self._shared[0] = float(is_open)

    def stop(self) -> None:
        """This worker is shutting down: what still runs is to be handed back."""
        self._shared[2] = 1.0

    @property
    def stopping(self) -> bool:
        return bool(self._shared[2] == 1.0)

    def is_set(self) -> bool:
        return self._shared[0] != 1.0 or time.monotonic() - self._shared[1] > self._stale_s
