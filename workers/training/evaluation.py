"""Answers a held-out set greedily, in batches.

An answer may run a little longer than the longest reference; the rest of a rambling one is not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workers.engine.chat import asked, prompt_ids
from workers.models.base import BaseModel
from workers.training.records import Record

BATCH = 40
SLACK = 24


def answers(
    base: BaseModel,
    system_prompt: str,
    records: Sequence[Record],
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """What the model answers to each record's prompt, with whichever adapter is switched on."""
    prompts = [prompt_ids(base.tokenizer, asked(system_prompt, record.prompt)) for record in records]
    limit = _limit(base, records)
    found: dict[int, str] = {}
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(by_length), BATCH):
        batch = by_length[start : start + BATCH]
        found |= zip(batch, _batch_answers(base, [prompts[index] for index in batch], limit), strict=True)
        advance(len(batch))
    return [found[index] for index in range(len(prompts))]


def _limit(base: BaseModel, records: Sequence[Record]) -> int:
    return max(len(base.tokenizer(record.answer)["input_ids"]) for record in records) + SLACK


def _batch_answers(base: BaseModel, prompts: list[list[int]], limit: int) -> list[str]:
    import torch

    ids, mask = _left_padded(prompts, base.tokenizer.pad_token_id, base.device)
    with torch.inference_mode():
        out = base.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=limit, do_sample=False)
    return list(base.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True))


def _left_padded(prompts: list[list[int]], pad: int, device: str) -> tuple[Any, Any]:
    import torch

    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
