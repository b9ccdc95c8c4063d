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
