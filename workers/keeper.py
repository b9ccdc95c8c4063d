"""Renews the leases of the steps that this process is running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from switchtower.ledger import Ledger

logger = get_logger(__name__)


class Keeper:
    """One thread that prolongs every held lease until its step ends."""

    def __init__(self, ledger: Ledger, every_s: float) -> None:
        self._ledger = ledger
        self._every_s = every_s
        self._held: dict[str, tuple[str, threading.Event]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """How many steps this process is running."""
        return len(self._held)

    @contextmanager
    def keeping(self, job: str, holder: str) -> Iterator[threading.Event]:
        """Hold a lease while the block runs; the event is set when the step was lost to somebody else."""
        lost = threading.Event()
        with self._lock:
            self._held[holder] = (job, lost)
            self._start()
        try:
            yield lost
        finally:
            with self._lock:
                self._held.pop(holder, None)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._every_s):
            with self._lock:
                held = dict(self._held)
            try:
                gone = self._ledger.renew((job, holder) for holder, (job, _) in held.items())
            except RedisError as error:
                logger.warning("leases could not be renewed: %s", type(error).__name__)
                continue
            for job, lost in held.values():
                if job in gone:
                    lost.set()
