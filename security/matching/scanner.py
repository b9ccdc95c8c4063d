"""Hyperscan (its Vectorscan fork) as the matching engine: the fast one, on x86_64.

A database is immutable and shared by all threads. A scratch is written to while a scan runs, so each thread has one of
its own (Hyperscan's developer reference, "Scratch Space"). After a fork the child has copies of both.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import hyperscan

from security.matching import shelf
from security.matching.errors import MatcherError

_FLAGS = hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_UTF8
_WORTH_KEEPING_S = 0.2


class Scanner:
    """Searches for all patterns at once; safe to share between threads."""

    engine = "hyperscan"

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises MatcherError for patterns that Hyperscan refuses; it does not say which."""
        self._database = _database([pattern.encode() for pattern in patterns])
        self._own = threading.local()

    def search(self, text: str) -> frozenset[int]:
        """The places of the patterns that match somewhere in the text."""
        hits: list[int] = []
        try:
            self._database.scan(text.encode(), _note, 0, hits, self._scratch())
        except hyperscan.error as error:
            raise MatcherError(f"Hyperscan: {error}") from error
        return frozenset(hits)

    def _scratch(self) -> hyperscan.Scratch:
        scratch: hyperscan.Scratch | None = getattr(self._own, "scratch", None)
        if scratch is None:
            scratch = self._own.scratch = hyperscan.Scratch(self._database)
        return scratch


def _note(place: int, _start: int, _end: int, _flags: int, hits: Any) -> None:
    hits.append(place)


def _database(patterns: list[bytes]) -> hyperscan.Database:
    name = _name(patterns)
    if found := _kept(name):
        return found
    with shelf.turn(name):
        return _kept(name) or _compiled(name, patterns)


def _kept(name: str) -> hyperscan.Database | None:
    data = shelf.fetch(name)
    try:
        return hyperscan.loadb(data, hyperscan.HS_MODE_BLOCK) if data else None
    except hyperscan.error:  # made for another processor or by another version
        return None


def _compiled(name: str, patterns: list[bytes]) -> hyperscan.Database:
    database, started = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK), time.monotonic()
    try:
        database.compile(expressions=patterns, flags=_FLAGS)
    except hyperscan.error as error:
        raise MatcherError(f"Hyperscan: {error}") from error
    if time.monotonic() - started > _WORTH_KEEPING_S:
        shelf.keep(name, hyperscan.dumpb(database))
    return database


def _name(patterns: list[bytes]) -> str:
    """What the database depends on: patterns in their order, flags, library, the processor's features."""
    digest = hashlib.sha256(f"{version('hyperscan')}|{_platform()}|{_FLAGS}".encode())
    for pattern in patterns:
        digest.update(b"%d:%s" % (len(pattern), pattern))
    return digest.hexdigest()


@cache
def _platform() -> str:
    """The library's version and the processor features that it uses, in its own words."""
    probe = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    probe.compile(expressions=[b"a"], flags=_FLAGS)
    return repr(probe.info())
