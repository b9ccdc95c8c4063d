"""Trains a LoRA adapter on dense bf16 weights.

The steps take turns on the weights as they are and as four bits round them, so that one adapter
fits both forms in which the base model is served. Gradients never pass through the 4-bit layers
themselves: on CPUs those repack their weights when they answer, and their gradients are garbage after.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from workers.engine.chat import asked, prompt_ids
from workers.models.base import BaseModel
from workers.quiet import quiet
from workers.training.recipes import Job, Recipe
from workers.training.records import Record, TrainingDataError

MAX_TOKENS = 1024
UNSCORED = -100
"""PyTorch's mark for a token that the loss leaves out."""

Example = tuple[list[int], list[int]]


def train(base: BaseModel, job: Job, advance: Callable[[float], None]) -> Any:
    """Train on the job's records and return the PEFT model; `advance` gets each step's loss."""
    import torch

    torch.manual_seed(job.recipe.seed)
    peft, examples = _wrapped(base, job.recipe), [_example(base, job.recipe, record) for record in job.train]
    prefix, batches = _shared_prefix(examples), list(_batches(examples, job.recipe))
    weights, update = _Weights(base), _updater(peft, job.recipe.learning_rate, len(batches))
    for step, batch in enumerate(batches):
        weights.use(step % 2)
        loss = _loss(base, prefix, batch)
        update(loss)
        advance(loss.item())
    weights.use(0)
    return peft.eval()


def step_count(job: Job) -> int:
    """How many steps the training takes."""
    return -(-len(job.train) // job.recipe.batch) * job.recipe.epochs


class _Weights:
    """The base model's linears in two forms: as they are, and as four bits round them."""

    def __init__(self, base: BaseModel) -> None:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        self._linears = [base.model.get_submodule(name).base_layer for name in base.linears()]
        dense = [linear.weight.data for linear in self._linears]
        rounded = [
            dequantize_4bit(*quantize_4bit(weight, quant_type="nf4", compress_statistics=True)).to(weight.dtype)
            for weight in dense
        ]
        self._forms = dense, rounded

    def use(self, form: int) -> None:
        for linear, weight in zip(self._linears, self._forms[form], strict=True):
            linear.weight.data = weight


def _wrapped(base: BaseModel, recipe: Recipe) -> Any:
    from peft import get_peft_model

    from workers.training.switch import lora_config

    # PyTorch's fused attention is slower than plain matrix products on CPUs when it runs backwards.
    base.model.set_attn_implementation("eager" if base.device == "cpu" else "sdpa")
    with quiet():
        return get_peft_model(base.model, lora_config(recipe.rank, 2 * recipe.rank)).train()


def _updater(peft: Any, learning_rate: float, steps: int) -> Callable[[Any], None]:
    """One step of AdamW under a one-cycle schedule for each loss that it is called with."""
    import torch

    parameters = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)

    def update(loss: Any) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    return update


def _example(base: BaseModel, recipe: Recipe, record: Record) -> Example:
    tokenizer = base.tokenizer
    prompt = prompt_ids(tokenizer, asked(recipe.system_prompt, record.prompt))
    answer = [*tokenizer(record.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    if len(prompt) + len(answer) > MAX_TOKENS:
        raise TrainingDataError(f"a record is longer than {MAX_TOKENS} tokens: {record.prompt[:60]!r}...")
    return prompt, answer


def _batches(examples: list[Example], recipe: Recipe) -> Iterator[list[Example]]:
    order = random.Random(recipe.seed)  # noqa: S311 - an order, not a secret
    for _ in range(recipe.epochs):
        shuffled = order.sample(examples, len(examples))
        for start in range(0, len(shuffled), recipe.batch):
            yield shuffled[start : start + recipe.batch]


def _shared_prefix(examples: list[Example]) -> list[int]:
    """The tokens that every prompt begins with: they run once a step instead of once a record."""
    first, last = min(prompt for prompt, _ in examples), max(prompt for prompt, _ in examples)
    same = 0
    while same < min(len(first), len(last)) - 1 and first[same] == last[same]:
        same += 1
    return first[:same]


def _loss(base: BaseModel, prefix: list[int], batch: list[Example]) -> Any:
    """Cross-entropy on the answers' tokens only."""
    import torch

    ids, labels, mask = _tensors(base, len(prefix), batch)
    cache = None
    if prefix:
        head = torch.tensor([prefix], device=base.device)
        cache = base.model.model(input_ids=head, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(batch))
        mask = torch.cat([mask.new_ones(len(batch), len(prefix)), mask], dim=1)
    hidden = base.model.model(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    wanted = labels[:, 1:] != UNSCORED
    logits = base.model.lm_head(hidden[:, :-1][wanted])
    return torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def _tensors(base: BaseModel, skipped: int, batch: list[Example]) -> tuple[Any, Any, Any]:
    """Ids, labels and mask, padded on the right, without the shared prefix."""
    import torch

    width = max(len(prompt) + len(answer) for prompt, answer in batch) - skipped
    ids = torch.full((len(batch), width), base.tokenizer.pad_token_id)
    labels = torch.full((len(batch), width), UNSCORED)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (prompt, answer) in enumerate(batch):
        own = len(prompt) - skipped
        ids[row, : own + len(answer)] = torch.tensor(prompt[skipped:] + answer)
        labels[row, own : own + len(answer)] = torch.tensor(answer)
        mask[row, : own + len(answer)] = 1
    return ids.to(base.device), labels.to(base.device), mask.to(base.device)
