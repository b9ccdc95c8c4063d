"""Keys and values of the rows that are being answered: one buffer, a place for each row.

A row's tokens stand at the beginning of its place, so that a new token is written in place and a step reads a
view. (transformers' `DynamicCache` concatenates all rows anew for every token, and has to be rebuilt whenever a
row comes or goes.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.engine.layout import Layout

BLOCK = 64
"""Tokens by which places grow."""


@dataclass(frozen=True)
class Shape:
    """What a model keeps of a token: layers and their devices, heads, size of a head, type of a number."""

    devices: tuple[Any, ...]
    heads: int
    size: int
    dtype: Any

    @classmethod
    def of(cls, model: Any) -> Shape:
        """The shape that a transformers model needs."""
        config = model.config.get_text_config()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        devices = tuple(next(layer.parameters()).device for layer in model.model.layers)
        return cls(devices, config.num_key_value_heads, size, model.dtype)

    @property
    def token_bytes(self) -> int:
        return 2 * len(self.devices) * self.heads * self.size * int(self.dtype.itemsize)


class RowCache:
    """Places for rows; `most` bytes are never exceeded."""

    def __init__(self, shape: Shape, most: int) -> None:
        self.shape = shape
        self._most = most
        self.rows = 0
        self.tokens = 0
        self._stores: list[Any] = []  # one a device: [layers, keys and values, rows, heads, tokens, size]
        groups = [(device, len(list(layers))) for device, layers in groupby(shape.devices)]
        self._devices = groups
        self._home = [(at, layer) for at, (_, count) in enumerate(groups) for layer in range(count)]

    @property
    def nbytes(self) -> int:
        return self.rows * self.tokens * self.shape.token_bytes

    def fits(self, rows: int, tokens: int) -> bool:
        """Whether so many rows of so many tokens may be kept at once."""
        return rows * _blocks(tokens) * self.shape.token_bytes <= self._most

    def grow(self, rows: int, tokens: int) -> None:
        """Make room for so many rows of so many tokens; what is kept stays. Raises whatever a lack of memory raises."""
        if rows <= self.rows and tokens <= self.tokens:
            return
        wide, long = max(_rounded(rows), self.rows), max(_blocks(tokens), self.tokens)
        if self.fits(wide, long):
            rows, tokens = wide, long
        self._reshape(rows, _blocks(tokens))

    def _reshape(self, rows: int, tokens: int) -> None:
        self._stores = [self._shaped(at, rows, tokens) for at in range(len(self._devices))]
        self.rows, self.tokens = rows, tokens

    def _shaped(self, at: int, rows: int, tokens: int) -> Any:
        import torch

        device, layers = self._devices[at]
        # Zeros, because what is masked out is still multiplied by nothing, and nothing times NaN is NaN.
        made = torch.zeros(
            (layers, 2, rows, self.shape.heads, tokens, self.shape.size), dtype=self.shape.dtype, device=device
        )
        if self._stores:
            both = (slice(None), slice(None), slice(min(rows, self.rows)), slice(None), slice(min(tokens, self.tokens)))
            made[both] = self._stores[at][both]
        return made

    def drop(self) -> None:
        """Give all memory back."""
        self._stores, self.rows, self.tokens = [], 0, 0

    def write(self, layer: int, layout: Layout, key: Any, value: Any) -> tuple[Any, Any]:
        """Keep a step's keys and values, each [1, heads, tokens, size]; gives the layer's whole buffers."""
        at, layer = self._home[layer]
        both = self._stores[at][layer]
        index = layout.places(both.device)
        kept = key.shape[2] - layout.padding
        for buffer, new in zip(both, (key, value), strict=True):
            buffer.view(-1, self.shape.size).index_copy_(0, index, new[0, :, :kept].reshape(-1, self.shape.size))
        return both[0], both[1]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first tokens to another place."""
        for store in self._stores:
            store[:, :, target, :, :length] = store[:, :, source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Let two rows change places."""
        for store in self._stores:
            kept = store[:, :, one, :, :length].clone()
            store[:, :, one, :, :length] = store[:, :, other, :, :length]
            store[:, :, other, :, :length] = kept

    def wipe(self, row: int) -> None:
        """Write zeros over a row that may hold numbers that are none."""
        for store in self._stores:
            store[:, :, row] = 0

    def copy_out(self, row: int, length: int) -> list[Any]:
        """A row's first tokens, to be kept elsewhere."""
        return [store[:, :, row, :, :length].clone() for store in self._stores]

    def copy_in(self, row: int, kept: Sequence[Any]) -> None:
        """Begin a row with tokens that were copied out of one."""
        for store, part in zip(self._stores, kept, strict=True):
            store[:, :, row, :, : part.shape[-2]] = part


def _rounded(rows: int) -> int:
    """The next power of two, so that a growing batch is not copied for each row."""
    return 1 << (rows - 1).bit_length()


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK) * BLOCK
