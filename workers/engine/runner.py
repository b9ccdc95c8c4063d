"""One step of the model: tokens of many rows in, logits of their last ones out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workers.engine import attention
from workers.engine.bank import SlotBank
from workers.engine.cache import RowCache
from workers.engine.layout import Layout, Part

if TYPE_CHECKING:
    from workers.models.base import BaseModel

FEW, ROUND = 16, 8


class Runner:
    """The model with the rows' cache and the adapters' bank; used by one thread."""

    def __init__(self, base: BaseModel, bank: SlotBank, cache: RowCache) -> None:
        attention.adopt(base.model)
        self._model = base.model
        self._device = base.model.get_input_embeddings().weight.device
        self._pads = not base.quantised
        self.bank = bank
        self.cache = cache

    def run(self, parts: Sequence[Part], writing: int) -> list[Any]:
        """Logits of each part: [1, vocabulary], or [1 + labels' tokens, vocabulary] where it has a tree."""
        layout = Layout(parts, writing, self.cache, self._padding(sum(part.width for part in parts)))
        logits = self._logits(layout)
        return list(logits.split([1 + len(part.branches) for part in parts]))

    def _padding(self, tokens: int) -> int:
        """Tokens that make a long step's number a multiple of eight.

        oneDNN compiles and keeps a kernel for each number of tokens, and hundreds of them take hundreds of megabytes;
        with 4 bits on a CPU, where a token more costs as much as any, it is left.
        """
        return -tokens % ROUND if self._pads and tokens > FEW else 0

    def forget(self) -> None:
        """Give the rows' memory back to the device."""
        import torch

        self.cache.drop()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _logits(self, layout: Layout) -> Any:
        import torch

        def on_device(numbers: list[int]) -> Any:
            return torch.tensor(numbers, device=self._device)

        with torch.inference_mode(), self.bank.wearing(layout.slots):
            return self._model(
                input_ids=on_device(layout.ids)[None],
                position_ids=on_device(layout.positions)[None],
                use_cache=False,
                logits_to_keep=on_device(layout.wanted),
                layout=layout,
            ).logits[0]


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that there is no memory left; on CPUs torch has no type for it."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
