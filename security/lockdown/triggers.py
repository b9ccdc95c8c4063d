"""What raises the lockdown by itself: many alerts of one source, and resources that run out.

A critical finding of a guardrail and too many denied permissions raise it where they are seen, through `engage`;
the panic button is `switchtower panic`.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from security.lockdown.heads import audited
from switchtower.jobs import ALERTS, AUDIT
from switchtower.lease import printable
from switchtower.messages import now_ms
from switchtower.settings import Settings

_BATCH = 1000
_MOST = 10_000
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Trip:
    """A trigger that was reached, and what is to be known of it."""

    name: str
    reason: str


class AlertPattern:
    """Counts the alerts of each source within a sliding window; what came before the line was opened is settled."""

    def __init__(self, redis: Redis, limit: int, window_s: float) -> None:
        self._redis = redis
        self._limit = limit
        self._window_ms = int(window_s * 1000)
        self._opened = -1
        self._mark = ""
        self._seen: deque[tuple[int, str]] = deque(maxlen=_MOST)

    def check(self, opened: int) -> Trip | None:
        """The source that has given too many alerts since the line was opened (ms), if there is one."""
        if opened != self._opened:
            self._opened, self._mark = opened, f"{max(opened, now_ms() - self._window_ms)}-0"
            self._seen.clear()
        self._read()
        while self._seen and self._seen[0][0] < now_ms() - self._window_ms:
            self._seen.popleft()
        most = Counter(source for _, source in self._seen).most_common(1)
        if not most or most[0][1] <= self._limit:
            return None
        source, count = most[0]
        return Trip("alerts", f"{count} alerts of {source} within {self._window_ms // 1000} s")

    def _read(self) -> None:
        found: Any = self._redis.xread({ALERTS: self._mark}, count=_BATCH)
        for _, entries in found:
            for mark, fields in entries:
                self._mark = mark
                self._seen.append((int(mark.split("-")[0]), _source(fields.get("e", ""))))


def _source(raw: str) -> str:
    """Who an alert is about: the station, and the user whose job it was."""
    try:
        alert = json.loads(raw)
        return printable(f"{alert['source']} ({alert['tenant']}/{alert['user']})", 300)
    except (ValueError, KeyError, TypeError, RecursionError):
        return "something unreadable"


@dataclass(frozen=True)
class _Gauge:
    """A resource: how much of it is used, and how much may be; nothing where it has no bound here."""

    name: str
    words: str
    limit: float
    used: Callable[[], float | None]


class Resources:
    """The resources that the line lives on; each raises once when it runs out, and again only after it had eased."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        limits = settings.lockdown
        self._gauges = [
            _Gauge("broker_memory", "of the broker's memory is used", limits.broker_memory, lambda: broker(redis)),
            _Gauge("host_memory", "of the controller's host's memory is used", limits.host_memory, host),
            _Gauge("disk", "of the disk under the home folder is used", limits.disk, lambda: disk(settings.home)),
        ]
        if audited(settings):
            backlog, most = "of the events that may wait for the audit do", limits.audit_backlog
            self._gauges.append(_Gauge("audit_backlog", backlog, 1.0, lambda: redis.xlen(AUDIT) / most))

    def check(self, tripped: tuple[str, ...]) -> tuple[Trip | None, tuple[str, ...]]:
        """The first resource that has run out since the last look, and all that are out now."""
        out = {gauge.name: (gauge, used) for gauge in self._gauges if (used := gauge.used()) and used >= gauge.limit}
        fresh = [name for name in out if name not in tripped]
        if not fresh:
            return None, tuple(out)
        gauge, used = out[fresh[0]]
        trip = Trip(gauge.name, f"{used:.0%} {gauge.words}, the limit is {gauge.limit:.0%}")
        return trip, tuple(name for name in out if name in tripped or name == gauge.name)


def broker(redis: Redis) -> float | None:
    """The share of `maxmemory` that the broker uses."""
    found: Any = redis.info("memory")
    most = int(found.get("maxmemory", 0))
    return int(found["used_memory"]) / most if most else None


def host() -> float | None:
    """The share of this host's memory that is not available any more (Linux)."""
    try:
        lines = (line.split() for line in _MEMINFO.read_text().splitlines())
        found = {fields[0]: int(fields[1]) for fields in lines}
        return 1 - found["MemAvailable:"] / found["MemTotal:"]
    except (OSError, ValueError, KeyError, IndexError):
        return None


def disk(folder: Path) -> float | None:
    """The share of the disk under a folder that is used, as `df` counts it."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    return found.used / (found.used + found.free)
