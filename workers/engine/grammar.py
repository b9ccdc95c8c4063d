"""Answers that are JSON under a schema: what may not come next is masked before a token is drawn.

Written on one line (`{"a": 1, "b": [2, 3]}`), properties in the schema's order: a model cannot lose itself in white
space, and each answer has one spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from switchtower.errors import FormatError
from workers.engine.schema import check

CACHE_BYTES = 64 * 2**20
"""For all compiled schemas of a base model; those not used for longest go first."""

_ORIGIN = re.compile(r"^\[[\d:]+\] \S+: ")
_CONTROL = frozenset(range(0x20))


@dataclass(frozen=True)
class Compiled:
    """A schema, ready for any number of answers at once."""

    grammar: Any
    only_end: Any
    """The mask that allows nothing but the end."""


class Grammars:
    """Compiles schemas for one base model and keeps the latest; safe to call from any thread."""

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        try:
            import xgrammar
        except ModuleNotFoundError:
            raise FormatError("this worker keeps no schemas: pip install --no-deps xgrammar apache-tvm-ffi") from None
        vocabulary = _vocabulary(tokenizer, vocab_size)
        self._compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1, cache_limit_bytes=CACHE_BYTES)
        self._only_end = xgrammar.allocate_token_bitmask(1, vocab_size)
        nothing = self._compiler.compile_grammar('root ::= ""')
        xgrammar.GrammarMatcher(nothing).fill_next_token_bitmask(self._only_end)

    def compile(self, schema: str) -> Compiled:
        """Compile the JSON text of a schema, which may take seconds; raises `FormatError`."""
        check(json.loads(schema))
        try:
            grammar = self._compiler.compile_json_schema(schema, any_whitespace=False)
        except RuntimeError as error:
            reason = _ORIGIN.sub("", str(error)).strip()[:300]
            raise FormatError(f"the schema cannot be compiled: {reason}") from None
        return Compiled(grammar, self._only_end)


class RowGrammar:
    """The state of one answer."""

    def __init__(self, compiled: Compiled) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled.grammar)
        self._only_end = compiled.only_end

    def mask(self, logits: Any) -> None:
        """Set what may not come next to -inf, in place, in one row of logits; raises `FormatError` at a dead end."""
        mask_rows(logits.view(1, -1), {0: self})

    def accept(self, token: int) -> None:
        """The answer goes on with this token; raises `FormatError` where it may not."""
        if not self._matcher.accept_token(token):
            raise FormatError("the answer left its schema")

    @property
    def ended(self) -> bool:
        """Whether only the end may come now, or has come."""
        import torch

        if self._matcher.is_terminated() or not self._matcher.is_completed():
            return bool(self._matcher.is_terminated())
        bits = torch.zeros_like(self._only_end)
        self.fill(bits, 0)
        return torch.equal(bits, self._only_end)

    def fill(self, bits: Any, place: int) -> None:
        """Write down in one row of `bits` which tokens may come next."""
        self._matcher.fill_next_token_bitmask(bits, place)
        if not bits[place].any():
            raise FormatError("the schema leaves no way to go on")


def mask_rows(logits: Any, grammars: Mapping[int, RowGrammar]) -> None:
    """Mask the rows that have a grammar, by their place in `[rows, vocabulary]`; the others stay as they are."""
    import xgrammar

    bits = xgrammar.allocate_token_bitmask(*logits.shape)
    for place, grammar in grammars.items():
        grammar.fill(bits, place)
    # Not the library's own choice for CUDA: that one is compiled on first use, by a compiler that may be missing.
    backend: Literal["cpu", "torch_native"] = "cpu" if logits.device.type == "cpu" else "torch_native"
    xgrammar.apply_token_bitmask_inplace(logits, bits.to(logits.device), indices=list(grammars), backend=backend)


def _vocabulary(tokenizer: Any, vocab_size: int) -> Any:
    """What the tokens say, but for those that no JSON text on one line may hold.

    Inside a string, the grammar would let pass the name of a control token, and raw control characters too where a
    length is bounded.
    """
    import xgrammar

    plain = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size)
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    texts = [
        b"" if index in special or not _CONTROL.isdisjoint(text) else text
        for index, text in enumerate(plain.decoded_vocab)
    ]
    return xgrammar.TokenizerInfo(
        texts,
        xgrammar.VocabType.RAW,
        vocab_size=vocab_size,
        stop_token_ids=plain.stop_token_ids,
        add_prefix_space=plain.add_prefix_space,
    )
