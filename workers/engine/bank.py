"""All adapters on the model at once: beside each linear one pool of ranks, of which an adapter owns some.

For tokens x of any adapters, a linear's answer is grown by `(x Aᵀ, ranks of others blotted out) B`: two matrix
products, whichever adapters the tokens are of and in whatever order they lie. No token's weights are copied, no
rank is padded, and 0 is what a token of the base model gets. (S-LoRA, arXiv 2311.03285, pools ranks in the same
way; Punica, arXiv 2310.18547, gathers them by token.)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.adapters.weights import HostWeights

BASE = 0
"""The slot of the base model: no adapter."""


@dataclass(frozen=True)
class _Pool:
    """One linear's ranks: A is [ranks, in], B is [ranks, out] and already scaled."""

    a: Any
    b: Any


class SlotBank:
    """The adapters on a model, each in a slot; slots are loaded and cleared while other slots are in use."""

    def __init__(self, model: Any, linears: Mapping[str, tuple[int, int]], slots: int, max_rank: int) -> None:
        import torch

        self.slots, self.max_rank = slots, max_rank
        ranks = slots * max_rank
        self._free = set(range(ranks))
        self._owned: dict[int, list[int]] = {}
        self._lock = threading.Lock()
        self._pools = {
            name: _pool(model.get_submodule(name), shape, ranks, model.dtype) for name, shape in linears.items()
        }
        self._foreign = torch.ones((slots + 1, ranks), dtype=torch.bool)
        self._worn: dict[Any, Any] = {}
        self._used = 0
        self._hooks = [
            model.get_submodule(name).register_forward_hook(self._hook(pool)) for name, pool in self._pools.items()
        ]

    def load(self, slot: int, weights: HostWeights) -> None:
        """Copy an adapter into an empty slot, which no token wears."""
        import torch

        with self._lock:
            owned = _together(self._free, weights.rank)
            self._free.difference_update(owned)
            self._owned[slot] = owned
        where = slice(owned[0], owned[-1] + 1) if owned[-1] - owned[0] + 1 == len(owned) else torch.tensor(owned)
        for name, (a, b) in weights.tensors.items():
            pool = self._pools[name]
            pool.a[where] = a.to(pool.a)
            pool.b[where] = b.t().to(pool.b) * weights.scaling
        self._foreign[slot, owned] = False

    def clear(self, slot: int) -> None:
        """Empty a slot, which no token wears."""
        import torch

        owned = self._owned.pop(slot, [])
        self._foreign[slot] = True
        for pool in self._pools.values():
            rows = torch.tensor(owned, dtype=torch.long, device=pool.a.device)
            pool.a.index_fill_(0, rows, 0)
            pool.b.index_fill_(0, rows, 0)
        with self._lock:
            self._free.update(owned)

    @contextmanager
    def wearing(self, slots: Sequence[int]) -> Iterator[None]:
        """Inside the block, the model's n-th token is answered by the adapter in the n-th slot."""
        import torch

        try:
            if any(slots):
                self._used = 1 + max(rank for slot in set(slots) - {BASE} for rank in self._owned[slot])
                foreign = self._foreign[:, : self._used].index_select(0, torch.tensor(slots))
                self._worn = {device: foreign.to(device) for device in self._devices()}
            yield
        finally:
            self._worn = {}

    def detach(self) -> None:
        """Take the pools off the model."""
        for hook in self._hooks:
            hook.remove()

    @property
    def nbytes(self) -> int:
        """Bytes of the ranks that are owned."""
        per_rank = sum(pool.a.shape[1] + pool.b.shape[1] for pool in self._pools.values())
        size = next((pool.a.element_size() for pool in self._pools.values()), 0)
        return int(per_rank * size * sum(map(len, self._owned.values())))

    def _devices(self) -> set[Any]:
        return {pool.a.device for pool in self._pools.values()}

    def _hook(self, pool: _Pool) -> Any:
        import torch

        def add(_linear: Any, given: tuple[Any, ...], answer: Any) -> None:
            foreign = self._worn.get(pool.a.device)
            if foreign is None:
                return
            tokens = given[0].flatten(0, -2)
            # Filled and not multiplied: an adapter whose numbers overflow must hurt nobody but its own tokens.
            ranks = torch.mm(tokens, pool.a[: self._used].t()).masked_fill_(foreign, 0)
            answer.view(-1, answer.shape[-1]).addmm_(ranks, pool.b[: self._used])

        return add


def _together(free: set[int], count: int) -> list[int]:
    """So many free ranks, side by side where there is such a place, because those are copied as one."""
    ranks = sorted(free)
    for first, last in zip(ranks, ranks[count - 1 :], strict=False):
        if last - first == count - 1:
            return list(range(first, last + 1))
    return ranks[:count]


def _pool(linear: Any, shape: tuple[int, int], ranks: int, dtype: Any) -> _Pool:
    import torch

    out_features, in_features = shape
    device = linear.weight.device
    # Fresh zeros cost no memory on a CPU until they are written to.
    return _Pool(
        torch.zeros((ranks, in_features), dtype=dtype, device=device),
        torch.zeros((ranks, out_features), dtype=dtype, device=device),
    )
