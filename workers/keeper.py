"""Renews the leases of the steps that this process is running, and gives up those that never end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from switchtower.ledger import Ledger

logger = get_logger(__name__)


@dataclass(frozen=True)
class Limit:
    """How long a step may take, and what becomes of its job when it takes longer."""

    seconds: float
    give_up: Callable[[], object]


@dataclass
class _Held:
    job: str
    limit: Limit | None
    lost: threading.Event = field(default_factory=threading.Event)
    since: float = field(default_factory=time.monotonic)

    @property
    def overdue(self) -> bool:
        return self.limit is not None and time.monotonic() - self.since > self.limit.seconds


class Keeper:
    """One thread that prolongs every held lease until its step ends or is overdue.

    A thread that hangs cannot be killed. Its job is given up; and once `capacity` steps hang, so that this
    process could never take another one, the process ends for its supervisor to start it again.
    """

    def __init__(self, ledger: Ledger, every_s: float, capacity: int = 0) -> None:
        self._ledger = ledger
        self._every_s = every_s
        self._capacity = capacity
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def count(self) -> int:
        """How many steps this process is running."""
        return len(self._held)

    @contextmanager
    def keeping(self, job: str, holder: str, limit: Limit | None = None) -> Iterator[threading.Event]:
        """Hold a lease while the block runs; the event is set when the step is this block's no more."""
        held = _Held(job, limit)
        with self._lock:
            self._held[holder] = held
            self._start()
        try:
            yield held.lost
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
                self._renew({holder: one for holder, one in held.items() if not one.overdue})
                self._give_up([one for one in held.values() if one.overdue])
            except RedisError as error:
                logger.warning("leases could not be renewed: %s", type(error).__name__)

    def _renew(self, held: dict[str, _Held]) -> None:
        gone = self._ledger.renew((one.job, holder) for holder, one in held.items())
        for one in held.values():
            if one.job in gone:
                one.lost.set()

    def _give_up(self, overdue: list[_Held]) -> None:
        for one in overdue:
            if one.limit and not one.lost.is_set():
                logger.error("a step of job %s did not end within %s s: given up", one.job, one.limit.seconds)
                one.limit.give_up()
                one.lost.set()
        if self._capacity and len(overdue) >= self._capacity:
            logger.critical("every place of this worker hangs: it ends, to be started again")
            os._exit(os.EX_SOFTWARE)
