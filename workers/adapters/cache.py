"""Adapters in host memory: read and checked, waiting for a slot or kept for the next time."""

from __future__ import annotations

from collections.abc import Collection

from workers.adapters.weights import HostWeights


class HostCache:
    """Weights by version, within a limit of bytes; the least recently used ones go first. Not safe for threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[str, tuple[str, HostWeights]] = {}  # the least recently used first
        self.nbytes = 0

    def __contains__(self, version: str) -> bool:
        return version in self._kept

    def get(self, version: str) -> HostWeights | None:
        """The weights of this version, if they are kept."""
        if (found := self._kept.pop(version, None)) is None:
            return None
        self._kept[version] = found
        return found[1]

    def put(self, name: str, weights: HostWeights, needed: Collection[str]) -> None:
        """Keep the weights if they fit without dropping any of the versions that somebody waits for."""
        self._drop(weights.version)
        held = sum(kept.nbytes for version, (_, kept) in self._kept.items() if version in needed)
        if held + weights.nbytes > self._max_bytes:
            return
        for version in [version for version in self._kept if version not in needed]:
            if self.nbytes + weights.nbytes <= self._max_bytes:
                break
            self._drop(version)
        self._kept[weights.version] = (name, weights)
        self.nbytes += weights.nbytes

    def forget(self, name: str) -> None:
        """Drop every version of this adapter."""
        for version in [version for version, (owner, _) in self._kept.items() if owner == name]:
            self._drop(version)

    def _drop(self, version: str) -> None:
        if (found := self._kept.pop(version, None)) is not None:
            self.nbytes -= found[1].nbytes
