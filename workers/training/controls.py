"""What an adapter for closed labels must beat: the base choosing among the labels, and a linear probe on the base.

Covered: the metric `exact` with up to 32 labels. Not covered: answers of other kinds, which have no such controls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from workers.engine.chat import asked, prompt_ids
from workers.models.base import BaseModel
from workers.training.evaluation import BATCH, padded, prefilled
from workers.training.examples import shared_prefix
from workers.training.recipes import Job
from workers.training.records import Record

MOST_LABELS = 32
CHOICE, PROBE = "zero-shot choice", "frozen hidden state + logistic regression"
_ITERATIONS = 200


def labels_of(job: Job) -> list[str]:
    """The closed labels of a job; none where its answers are no labels, or where it trains on what it is tested on."""
    labels = sorted({record.answer for record in job.train})
    fair = job.recipe.metric == "exact" and job.train != job.heldout
    return labels if fair and 1 < len(labels) <= MOST_LABELS else []


def controls(base: BaseModel, job: Job, advance: Callable[[int], None]) -> dict[str, float]:
    """The share of held-out records that each control gets right; empty where there are none."""
    labels = labels_of(job)
    if not labels:
        return {}
    known, _ = _looked_at(base, job, job.train, [], advance)
    asked_of, likely = _looked_at(base, job, job.heldout, labels, advance)
    answers = [record.answer for record in job.heldout]
    probed = _probe(known, [labels.index(record.answer) for record in job.train], asked_of)
    return {CHOICE: _share(likely, labels, answers), PROBE: _share(probed, labels, answers)}


def _looked_at(
    base: BaseModel, job: Job, records: Sequence[Record], labels: Sequence[str], advance: Callable[[int], None]
) -> tuple[Any, Any]:
    """For each record the model's last hidden state, and the log-probability of each label as the answer."""
    import torch

    prompts = [prompt_ids(base.tokenizer, asked(job.recipe.system_prompt, record.prompt)) for record in records]
    prefix = shared_prefix(prompts)
    hidden, likely = [], []
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        with torch.inference_mode():
            seen = _Seen(base, prefix, batch)
            hidden.append(seen.last.float())
            likely.append(torch.stack([seen.log_probability(label) for label in labels], 1) if labels else seen.last)
        advance(len(batch))
    return torch.cat(hidden), torch.cat(likely)


class _Seen:
    """A batch of prompts that the base has read."""

    def __init__(self, base: BaseModel, prefix: list[int], prompts: list[list[int]]) -> None:
        ids, self._mask = padded(base, prefix, prompts)
        self._base = base
        self._cache = prefilled(base, prefix, len(prompts))
        out = self._run(ids[:, len(prefix) :], self._mask)
        self._cache, self.last = out.past_key_values, out.last_hidden_state[:, -1]

    def log_probability(self, label: str) -> Any:
        """Of the label and the answer's end, for each prompt; per token, so that length counts for nothing."""
        import torch

        tokenizer, rows = self._base.tokenizer, len(self.last)
        tokens = [*tokenizer(label, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([tokens] * rows, device=self._base.device)
        mask = torch.cat([self._mask, self._mask.new_ones(rows, len(tokens) - 1)], dim=1)
        after = self._run(ids[:, :-1], mask).last_hidden_state
        self._cache.crop(1 - len(tokens))
        logits = self._base.model.lm_head(torch.cat([self.last[:, None], after], dim=1)).float()
        return logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0].mean(1)

    def _run(self, ids: Any, mask: Any) -> Any:
        places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self._base.model.model(
            input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=self._cache, use_cache=True
        )


def _probe(known: Any, labels: Sequence[int], asked_of: Any) -> Any:
    """Logistic regression with an L2 penalty on standardised features; the scores of each label."""
    import torch

    mean, spread = known.mean(0), known.std(0).clamp(min=1e-6)
    features, wanted = (known - mean) / spread, torch.tensor(labels, device=known.device)
    weight = torch.zeros(known.shape[1], int(wanted.max()) + 1, device=known.device, requires_grad=True)
    bias = torch.zeros(weight.shape[1], device=known.device, requires_grad=True)
    fit = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        fit.zero_grad()
        error = torch.nn.functional.cross_entropy(features @ weight + bias, wanted, reduction="sum")
        total = error + weight.square().sum() / 2
        total.backward()
        return total

    fit.step(loss)
    return ((asked_of - mean) / spread @ weight + bias).detach()


def _share(scores: Any, labels: Sequence[str], answers: Sequence[str]) -> float:
    found = [labels[index] for index in scores.argmax(1).tolist()]
    right: int = sum(one == other for one, other in zip(found, answers, strict=True))
    return round(right / len(answers), 3)
