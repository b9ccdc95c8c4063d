"""What adapters' requests have in common: the keys and values of their system prompts, computed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

Key = tuple[str, tuple[int, ...]]

SHORTEST = 8
"""Tokens below which copying is not worth it."""


class PrefixStore:
    """Least recently used system prompts go first; `most` bytes are never exceeded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Key, list[Any]] = OrderedDict()
        self.nbytes = 0
        self.hits = self.misses = 0

    def get(self, key: Key) -> list[Any] | None:
        """What is kept of a prefix."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return found

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def put(self, key: Key, tensors: list[Any]) -> None:
        """Keep a prefix, at the cost of older ones."""
        size = _size(tensors)
        if size > self._most:
            return
        self._kept[key] = tensors
        self.nbytes += size
        while self.nbytes > self._most:
            _, old = self._kept.popitem(last=False)
            self.nbytes -= _size(old)

    def forget(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.nbytes = 0


def _size(tensors: list[Any]) -> int:
    return sum(int(tensor.nbytes) for tensor in tensors)
