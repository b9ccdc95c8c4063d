"""Reads adapters for the manager: what an adapter is now, and its weights, each trouble in the adapter's own words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from switchtower.errors import AdapterError, AdapterUnsupported
from workers.adapters.leases import same
from workers.adapters.shelf import AdapterShelf, Stamp, version_of
from workers.adapters.tensors import Linears
from workers.adapters.weights import HostWeights, host_weights

_TRIES = 3
"""How often an adapter is read whose files change while they are read."""

_NEVER: Stamp = ()
"""No files are in this state."""


@dataclass(frozen=True)
class Known:
    """What the files were found to be when they were in this state: one version, or an error."""

    stamp: Stamp
    version: str | None = None
    error: AdapterError | None = None


class Library:
    """The shelf, for one model. Everything here waits for the disk, save `stamp`."""

    def __init__(self, shelf: AdapterShelf, linears: Linears, max_rank: int) -> None:
        self._shelf = shelf
        self._linears = linears
        self._max_rank = max_rank

    def stamp(self, name: str) -> Stamp:
        """The state of the adapter's files; raises `AdapterNotFound` where this is no name."""
        return self._shelf.stamp(name)

    def look(self, name: str, at_hand: Callable[[str], bool], tries: int = _TRIES) -> tuple[Known, HostWeights | None]:
        """What the adapter is now, with its weights unless that version is at hand."""
        stamp = self._shelf.stamp(name)
        try:
            version = version_of(self._shelf.card(name))
            if at_hand(version):
                return Known(stamp, version), None
            weights = self.read(name)
            return Known(stamp, weights.version), weights
        except AdapterError as error:
            if tries > 1 and self._shelf.stamp(name) != stamp:
                return self.look(name, at_hand, tries - 1)
            return Known(stamp, error=same(error)), None
        except Exception as error:  # noqa: BLE001 - whatever it was, it is this adapter's trouble alone
            return Known(_NEVER, error=trouble(name, error)), None

    def read(self, name: str) -> HostWeights:
        """The adapter's weights, from the very bytes that were checked."""
        adapter = self._shelf.take(name, self._linears)
        if adapter.card.rank > self._max_rank:
            raise AdapterUnsupported(
                f"{name}: its rank is {adapter.card.rank} and a slot has {self._max_rank}; "
                "train it smaller or raise SWITCHTOWER_LOCAL__MAX_ADAPTER_RANK"
            )
        return host_weights(adapter, self._linears)


def trouble(name: str, error: Exception) -> AdapterError:
    """The error that those who wait for this adapter get."""
    if isinstance(error, AdapterError):
        return same(error)
    return AdapterError(f"{name}: could not be loaded: {type(error).__name__}: {error}")
