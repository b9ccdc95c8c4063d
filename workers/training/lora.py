"""Trains a LoRA adapter on dense bf16 weights.

The steps take turns on the weights as they are and as four bits round them, so that one adapter
fits both forms in which the base model is served. Gradients never pass through the 4-bit layers
themselves: on CPUs those repack their weights when they answer, and their gradients are garbage after.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workers.models.base import BaseModel
from workers.quiet import quiet
from workers.training.checkpoints import EVERY, Checkpoints, Point
from workers.training.examples import Example, batches, example, padding, shared_prefix
from workers.training.optimizer import Optimizer
from workers.training.recipes import Job, Recipe
from workers.training.rounding import rounded

UNSCORED = -100
"""PyTorch's mark for a token that the loss leaves out."""


class Trained(NamedTuple):
    """The PEFT model with its new adapter, and how long all processes together trained it."""

    peft: Any
    seconds: float


def train(base: BaseModel, job: Job, advance: Callable[[int, float], None], every: int = EVERY) -> Trained:
    """Train on the job's records; `advance` hears of each step and its loss.

    A checkpoint is written every so many steps and after the last; what an earlier process left is taken up.
    """
    import torch

    torch.manual_seed(job.recipe.seed)
    peft = _wrapped(base, job.recipe)
    examples = [example(base.tokenizer, job.recipe.system_prompt, record) for record in job.train]
    prefix = shared_prefix([one.prompt for one in examples])
    weights, steps, checkpoints = _Weights(base), step_count(job), Checkpoints(job)
    optimizer = Optimizer([one for one in peft.parameters() if one.requires_grad], steps, job.recipe.learning_rate)
    begun, before = _resumed(checkpoints, optimizer)
    started = time.monotonic() - before
    for step, batch in enumerate(batches(examples, job.recipe)):
        if step < begun:
            continue
        weights.use(step % 2)
        loss = _loss(base, prefix, batch)
        optimizer.update(step, loss)
        if (step + 1) % every == 0 or step + 1 == steps:
            checkpoints.save(Point(step + 1, time.monotonic() - started, optimizer.state()))
        advance(step + 1, loss.item())
    weights.use(0)
    return Trained(peft.eval(), time.monotonic() - started)


def step_count(job: Job) -> int:
    """How many steps the training takes."""
    return -(-len(job.train) // job.recipe.batch) * job.recipe.epochs


def _resumed(checkpoints: Checkpoints, optimizer: Optimizer) -> tuple[int, float]:
    """The steps that are done already, and the seconds that they took."""
    point = checkpoints.load()
    if point is None:
        return 0, 0.0
    optimizer.restore(point.state)
    return point.step, point.seconds


class _Weights:
    """The base model's linears in two forms: as they are, and as four bits round them."""

    def __init__(self, base: BaseModel) -> None:
        self._linears = [base.model.get_submodule(name).base_layer for name in base.linears()]
        dense = [linear.weight.data for linear in self._linears]
        self._forms = dense, [rounded(weight) for weight in dense]

    def use(self, form: int) -> None:
        for linear, weight in zip(self._linears, self._forms[form], strict=True):
            linear.weight.data = weight


def _wrapped(base: BaseModel, recipe: Recipe) -> Any:
    """The base with a fresh adapter in bf16: PEFT's own fp32 would copy every activation twice per linear."""
    from peft import get_peft_model

    from workers.training.switch import lora_config

    # PyTorch's fused attention is slower than plain matrix products on CPUs when it runs backwards.
    base.model.set_attn_implementation("eager" if base.device == "cpu" else "sdpa")
    with quiet():
        config = lora_config(recipe.rank, 2 * recipe.rank)
        return get_peft_model(base.model, config, autocast_adapter_dtype=False).train()


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

    width = max(map(len, batch)) - skipped
    ids = torch.full((len(batch), width), padding(base.tokenizer))
    labels = torch.full((len(batch), width), UNSCORED)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (prompt, answer) in enumerate(batch):
        own = len(prompt) - skipped
        ids[row, : own + len(answer)] = torch.tensor(prompt[skipped:] + answer)
        labels[row, own : own + len(answer)] = torch.tensor(answer)
        mask[row, : own + len(answer)] = 1
    return ids.to(base.device), labels.to(base.device), mask.to(base.device)
