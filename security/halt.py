"""The stop byte: shared memory that says whether work may go on, for threads and forked children alike."""

from __future__ import annotations

import time
from ctypes import c_double
from multiprocessing.sharedctypes import RawArray


class Halt:
    """Set while the line is locked, and whenever nobody has read the flag for `stale_s` seconds."""

    def __init__(self, stale_s: float) -> None:
        self._stale_s = stale_s
        self._shared = RawArray(c_double, 2)  # whether open, and when that was last read (monotonic, host-wide)

    def saw(self, is_open: bool) -> None:
        """Record what the flag said just now."""
        self._shared[1] = time.monotonic()
        self._shared[0] = float(is_open)

    def is_set(self) -> bool:
        return self._shared[0] != 1.0 or time.monotonic() - self._shared[1] > self._stale_s
