"""How one step's tokens lie side by side: first the rows that write their next token, then pieces of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.engine.cache import RowCache
    from workers.engine.labels import LabelTree


@dataclass(frozen=True)
class Part:
    """One row's tokens in a step: `start` tokens of it are kept already; a tree of labels may follow the last."""

    place: int
    slot: int
    start: int
    ids: Sequence[int]
    tree: LabelTree | None = None

    @property
    def branches(self) -> Sequence[int]:
        return self.tree.ids if self.tree else ()

    @property
    def width(self) -> int:
        return len(self.ids) + len(self.branches)

    @property
    def end(self) -> int:
        return self.start + self.width

    @property
    def positions(self) -> list[int]:
        """A token's distance from the row's beginning; labels stand side by side behind the prompt's last token."""
        last = self.start + len(self.ids) - 1
        return [*range(self.start, last + 1), *(last + depth for depth in (self.tree.depth if self.tree else ()))]


@dataclass(frozen=True)
class View:
    """What one call of attention reads: the tokens from `first` on, in the rows from `place` on."""

    first: int
    place: int
    rows: int
    width: int
    length: int
    mask: Any

    def queries(self, query: Any) -> Any:
        """Rows, heads, tokens, size."""
        part = query[:, :, self.first : self.first + self.rows * self.width]
        return part if self.rows == 1 else part[0].transpose(0, 1).unsqueeze(2)

    def of(self, buffer: Any) -> Any:
        return buffer[self.place : self.place + self.rows, :, : self.length]

    def tokens(self, answer: Any) -> Any:
        """Back to tokens, heads, size."""
        return answer.transpose(1, 2).flatten(0, 1)


class Layout:
    """One step. The first `writing` parts are one token each, of the rows at places 0, 1, 2 …"""

    def __init__(self, parts: Sequence[Part], writing: int, cache: RowCache, padding: int = 0) -> None:
        self.parts = parts
        self.padding = padding
        """Tokens behind all others that nobody sees and nobody keeps."""
        self.writing = writing
        self.cache = cache
        self._places: dict[Any, Any] = {}
        self._views: dict[Any, list[View]] = {}

    @cached_property
    def ids(self) -> list[int]:
        return [token for part in self.parts for token in (*part.ids, *part.branches)] + [0] * self.padding

    @cached_property
    def positions(self) -> list[int]:
        return [position for part in self.parts for position in part.positions] + [0] * self.padding

    @cached_property
    def slots(self) -> list[int]:
        return [part.slot for part in self.parts for _ in range(part.width)] + [0] * self.padding

    @cached_property
    def firsts(self) -> list[int]:
        """Where each part begins."""
        found, at = [], 0
        for part in self.parts:
            found.append(at)
            at += part.width
        return found

    @cached_property
    def wanted(self) -> list[int]:
        """The tokens whose logits are needed: the last of each part, and all of its labels' tokens."""
        return [
            first + index
            for first, part in zip(self.firsts, self.parts, strict=True)
            for index in range(len(part.ids) - 1, part.width)
        ]

    def places(self, device: Any) -> Any:
        """Where the tokens' keys go in a layer's buffer of [rows · heads · tokens, size]: heads first, then tokens."""
        if device not in self._places:
            import torch

            heads, tokens = self.cache.shape.heads, self.cache.tokens
            rows = torch.tensor([part.place for part in self.parts for _ in range(part.width)])
            at = torch.tensor([place for part in self.parts for place in range(part.start, part.end)])
            index = (rows * heads * tokens + at) + torch.arange(heads).unsqueeze(1) * tokens
            self._places[device] = index.flatten().to(device)
        return self._places[device]

    def views(self, device: Any, dtype: Any, window: int | None) -> list[View]:
        """The calls of attention that this step takes, with their masks."""
        key = (device, dtype, window)
        if key not in self._views:
            pieces = range(self.writing, len(self.parts))
            first = [self._writing_view(device, dtype, window)] if self.writing else []
            self._views[key] = first + [self._piece_view(index, device, dtype, window) for index in pieces]
        return self._views[key]

    def _writing_view(self, device: Any, dtype: Any, window: int | None) -> View:
        import torch

        ends = [part.end for part in self.parts[: self.writing]]
        longest, mask = max(ends), None
        if min(ends) < longest or (window and longest > window):
            at, end = torch.arange(longest), torch.tensor(ends).unsqueeze(1)
            seen = (at < end) & (at >= end - (window or longest))
            mask = _added(seen, dtype, device)[:, None, None]
        return View(0, 0, self.writing, 1, longest, mask)

    def _piece_view(self, index: int, device: Any, dtype: Any, window: int | None) -> View:
        import torch

        part = self.parts[index]
        at, own = torch.arange(part.end), torch.arange(part.start, part.end).unsqueeze(1)
        seen = at <= own
        if part.tree:
            count = len(part.branches)
            seen[-count:, -count:] = torch.as_tensor(part.tree.mask, dtype=torch.bool)
        if window:
            seen &= torch.tensor(part.positions).unsqueeze(1) - at < window
        mask = None if bool(seen.all()) else _added(seen, dtype, device)[None, None]
        return View(self.firsts[index], part.place, 1, part.width, part.end, mask)


def _added(seen: Any, dtype: Any, device: Any) -> Any:
    """A mask that is added: nothing where a token is seen, minus infinity elsewhere."""
    import torch

    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, float("-inf")).to(device)
