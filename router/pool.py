"""The models that may be chosen from: the registry, read at most every half second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from switchtower.models import Capability, ModelCard
from switchtower.registry import Announcement


@dataclass(frozen=True)
class Candidate:
    """One model and how it fares: whether a worker has it loaded now, and how many jobs that worker has."""

    card: ModelCard
    available: bool
    busy: int


class Pool:
    """A cached view of the registry with a capability index."""

    def __init__(self, read: Callable[[], Iterable[Announcement]], heartbeat_s: float, cache_s: float) -> None:
        self._read = read
        self._heartbeat_s = heartbeat_s
        self._cache_s = cache_s
        self._read_at = float("-inf")
        self._candidates: tuple[Candidate, ...] = ()

    def candidates(self) -> tuple[Candidate, ...]:
        """Every known model once, with its least busy living worker."""
        if time.monotonic() - self._read_at > self._cache_s:
            self._candidates = tuple(self._gather())
            self._read_at = time.monotonic()
        return self._candidates

    def _gather(self) -> Iterable[Candidate]:
        best: dict[str, Candidate] = {}
        for one in self._read():
            new = Candidate(one.card, one.available(self._heartbeat_s), one.busy)
            old = best.get(one.card.name)
            if old is None or (new.available, -new.busy) > (old.available, -old.busy):
                best[one.card.name] = new
        return best.values()

    def index(self) -> dict[Capability, tuple[Candidate, ...]]:
        """The candidates by what they are good for."""
        known = self.candidates()
        return {wanted: tuple(one for one in known if wanted in one.card.capabilities) for wanted in Capability}
