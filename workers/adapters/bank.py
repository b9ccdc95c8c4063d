"""What the adapter manager needs of the model: numbered slots that weights are copied into."""

from __future__ import annotations

from typing import Protocol

from workers.adapters.weights import HostWeights


class Bank(Protocol):
    """The adapters on the model. Slots are numbered from 1; 0 is the base model and belongs to no adapter."""

    @property
    def slots(self) -> int:
        """How many adapters fit at once."""

    @property
    def max_rank(self) -> int:
        """The highest rank that fits."""

    def load(self, slot: int, weights: HostWeights) -> None:
        """Copy the adapter into the slot, which is empty and which no row uses.

        Called from one thread of the manager's, never two at a time; the model may compute other rows meanwhile.
        """

    def clear(self, slot: int) -> None:
        """Empty the slot, which no row uses, also after a load that failed half way; called from the same thread."""


class TidyBank:
    """Empties a slot before it is filled again; for the one thread that changes slots."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._used: set[int] = set()

    def fill(self, slot: int, weights: HostWeights) -> None:
        """Put the adapter into the slot in the place of whatever is there."""
        self.empty(slot)
        self._used.add(slot)
        self._bank.load(slot, weights)

    def empty(self, slot: int) -> None:
        """Empty the slot, if anything was put into it."""
        if slot in self._used:
            self._bank.clear(slot)
            self._used.remove(slot)
