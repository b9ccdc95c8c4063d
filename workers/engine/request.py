"""One request: what is asked, how far its answer is, and the queue on which its caller reads."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from switchtower.models import Sampling

if TYPE_CHECKING:
    from workers.adapters.manager import Lease, Ticket
    from workers.engine.grammar import RowGrammar
    from workers.engine.labels import LabelTree

Stop = Callable[[], str | None]


@dataclass(frozen=True)
class End:
    """How an answer ended: with a reason, or with an error."""

    reason: str = ""
    error: BaseException | None = None
    scores: dict[str, float] | None = None


@dataclass(eq=False)
class Request:
    """A row of the batch once it has a `place`; only the engine's thread changes it then."""

    ids: list[int]
    sampling: Sampling
    most: int
    """Tokens that may be written."""
    stop: Stop
    prefix: int = 0
    """Tokens at the beginning that the adapter's requests share."""
    ticket: Ticket | None = None
    grammar: RowGrammar | None = None
    tree: LabelTree | None = None
    events: SimpleQueue[int | End] = field(default_factory=SimpleQueue)
    asked: float = field(default_factory=time.monotonic)

    lease: Lease | None = None
    place: int = -1
    kept: int = 0
    """Tokens whose keys and values are in the cache."""
    written: int = 0
    left: bool = False
    """The caller has gone; a plain flag, because only ever one thread sets it."""
    ended: bool = False
    draw: Any = None

    @property
    def slot(self) -> int:
        return self.lease.slot if self.lease else 0

    @property
    def version(self) -> str:
        return self.lease.version if self.lease else ""

    @property
    def pending(self) -> int:
        """Tokens that the model has not seen yet."""
        return len(self.ids) - self.kept

    @property
    def writing(self) -> bool:
        """Whether the next step is one token of the answer."""
        return self.pending == 1 and self.tree is None

    @property
    def needs(self) -> int:
        """Tokens that its place must hold in the end."""
        return len(self.ids) + self.most - self.written + (len(self.tree.ids) if self.tree else 0)

    def generator(self) -> Any:
        """Its own source of chance: what a request draws does not depend on its neighbours."""
        if self.draw is None:
            import torch

            seed = random.getrandbits(63) if self.sampling.seed is None else self.sampling.seed
            self.draw = torch.Generator().manual_seed(seed)
        return self.draw

    def end(self, end: End) -> None:
        """Tell the caller, once."""
        if not self.ended:
            self.ended = True
            self.events.put(end)

    def news(self) -> tuple[list[int], End | None]:
        """Wait for the next tokens, all that have come by now, and perhaps the end.

        So a caller that cannot follow hands out fewer and longer pieces, and holds nobody up.
        """
        tokens: list[int] = []
        event = self.events.get()
        while not isinstance(event, End):
            tokens.append(event)
            if self.events.empty():
                return tokens, None
            event = self.events.get()
        return tokens, event
