"""Records as the model sees them: tokens, the prefix that all prompts share, and the order of the batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from workers.engine.chat import asked, prompt_ids
from workers.training.errors import TrainingDataError
from workers.training.recipes import Recipe
from workers.training.records import Record

MAX_TOKENS = 1024
WINDOW = 4
"""So many batches are filled from one stretch of the shuffled records, by length: less padding, still a fair mix."""


class Example(NamedTuple):
    """One record's tokens."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def example(tokenizer: Any, system_prompt: str, record: Record) -> Example:
    """The record's prompt as it is asked, and its answer with the mark that ends it."""
    prompt = prompt_ids(tokenizer, asked(system_prompt, record.prompt))
    answer = [*tokenizer(record.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    if len(prompt) + len(answer) > MAX_TOKENS:
        raise TrainingDataError(f"a record is longer than {MAX_TOKENS} tokens: {record.prompt[:60]!r}...")
    return Example(prompt, answer)


def padding(tokenizer: Any) -> int:
    """The token that fills rows up; many base models have none of their own."""
    own = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if own is None else own)


def shared_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that every prompt begins with: they run once a batch instead of once a row."""
    first, last = min(prompts), max(prompts)
    same = 0
    while same < min(map(len, prompts)) - 1 and first[same] == last[same]:
        same += 1
    return first[:same]


def batches(examples: Sequence[Example], recipe: Recipe) -> Iterator[list[Example]]:
    """Every epoch's batches; the seed alone decides the order, so that a later process can find its place."""
    order = random.Random(recipe.seed)  # noqa: S311 - an order, not a secret
    for _ in range(recipe.epochs):
        shuffled = order.sample(list(examples), len(examples))
        stretches = _cut(shuffled, WINDOW * recipe.batch)
        cut = [batch for stretch in stretches for batch in _cut(sorted(stretch, key=len), recipe.batch)]
        yield from order.sample(cut, len(cut))


def _cut(examples: Sequence[Example], size: int) -> list[list[Example]]:
    return [list(examples[start : start + size]) for start in range(0, len(examples), size)]
