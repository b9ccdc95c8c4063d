"""Answers a held-out set greedily, in batches.

An answer may run a little longer than the longest reference; the rest of a rambling one is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workers.engine.chat import asked, prompt_ids
from workers.models.base import BaseModel
from workers.training.examples import padding, shared_prefix
from workers.training.records import Record

BATCH = 160
SLACK = 8


def answers(
    base: BaseModel,
    system_prompt: str,
    records: Sequence[Record],
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """What the model answers to each record's prompt, with whichever adapter is switched on."""
    prompts = [prompt_ids(base.tokenizer, asked(system_prompt, record.prompt)) for record in records]
    prefix, limit = shared_prefix(prompts), _limit(base, records)
    found: dict[int, str] = {}
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(by_length), BATCH):
        batch = by_length[start : start + BATCH]
        found |= zip(batch, _batch_answers(base, prefix, [prompts[index] for index in batch], limit), strict=True)
        advance(len(batch))
    return [found[index] for index in range(len(prompts))]


def _limit(base: BaseModel, records: Sequence[Record]) -> int:
    return max(len(base.tokenizer(record.answer)["input_ids"]) for record in records) + SLACK


def _batch_answers(base: BaseModel, prefix: list[int], prompts: list[list[int]], limit: int) -> list[str]:
    import torch

    with torch.inference_mode():
        ids, mask = padded(base, prefix, prompts)
        out = base.model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=prefilled(base, prefix, len(prompts)),
            max_new_tokens=limit,
            do_sample=False,
            pad_token_id=padding(base.tokenizer),
        )
    return list(base.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True))


def prefilled(base: BaseModel, prefix: list[int], rows: int) -> Any:
    """The model's cache after the shared prefix, which runs once, for every row."""
    import torch

    if not prefix:
        return None
    cache = base.model.model(input_ids=torch.tensor([prefix], device=base.device), use_cache=True).past_key_values
    cache.batch_repeat_interleave(rows)
    return cache


def padded(base: BaseModel, prefix: list[int], prompts: list[list[int]]) -> tuple[Any, Any]:
    """Ids and mask: the shared prefix, then padding, then each row's own part, so that all rows end together."""
    import torch

    width, same = max(map(len, prompts)), len(prefix)
    gaps = [width - len(prompt) for prompt in prompts]
    pad = padding(base.tokenizer)
    ids = [[*prefix, *[pad] * gap, *prompt[same:]] for gap, prompt in zip(gaps, prompts, strict=True)]
    mask = [[*[1] * same, *[0] * gap, *[1] * (width - same - gap)] for gap in gaps]
    return torch.tensor(ids, device=base.device), torch.tensor(mask, device=base.device)
