"""The manager's threads: some that read, one that fills slots, and one that rings when time has passed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

Job = Callable[[], None]


class Crew(Protocol):
    """Runs the manager's jobs outside its lock. A job handles its own errors."""

    def read(self, job: Job) -> None:
        """Run a job that reads from the disk, beside others."""

    def place(self, job: Job) -> None:
        """Run a job that changes slots, after those before it."""

    def ring(self, at: float | None) -> None:
        """Call the manager once at this time of its clock and not at the time that was asked for before."""

    def close(self) -> None:
        """Drop the jobs that have not begun and wait for those that have."""


class Threads:
    """A crew of threads."""

    def __init__(self, readers: int, tick: Job, clock: Callable[[], float] = time.monotonic) -> None:
        self._readers = ThreadPoolExecutor(readers, "adapter-reader")
        self._placer = ThreadPoolExecutor(1, "adapter-placer")
        self._alarm = _Alarm(tick, clock)

    def read(self, job: Job) -> None:
        self._readers.submit(job)

    def place(self, job: Job) -> None:
        self._placer.submit(job)

    def ring(self, at: float | None) -> None:
        self._alarm.set(at)

    def close(self) -> None:
        self._alarm.close()
        self._readers.shutdown(cancel_futures=True)
        self._placer.shutdown(cancel_futures=True)


class _Alarm:
    """Calls `tick` when the time has come; has a thread only if it was ever set."""

    def __init__(self, tick: Job, clock: Callable[[], float]) -> None:
        self._tick = tick
        self._clock = clock
        self._changed = threading.Condition()
        self._at: float | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def set(self, at: float | None) -> None:
        with self._changed:
            if self._closed or at == self._at:
                return
            self._at = at
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="adapter-alarm", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._waited():
            self._tick()

    def _waited(self) -> bool:
        """Wait for the time, however often it changes; False once the alarm is closed."""
        with self._changed:
            while not self._closed:
                left = None if self._at is None else self._at - self._clock()
                if left is not None and left <= 0:
                    self._at = None
                    return True
                self._changed.wait(left)
            return False
