"""Closed labels without writing them: one look at all of them says how probable each is.

The labels' tokens make a tree, in which labels that begin alike share their beginning. All of it goes through the
model at once behind the prompt: a token sees the prompt, what leads to it and itself. A label's probability is that
of its tokens and of the end right after them, so that `bug` and `bug report` compete fairly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from workers.engine.chat import defused

PROMPT = -1
"""The parent of a label's first token."""

_ROWS = 64
"""Rows of logits that are widened to 32 bits at once: a tree may have thousands, each as wide as the vocabulary."""

_NARROWINGS = 40
"""Each leaves two thirds of the range in which the temperature is sought."""


@dataclass
class LabelTree:
    """The tokens of all labels, each after its parent, for one pass behind a prompt."""

    end: int
    ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    """How far behind the prompt's last token each one stands; 1 for a label's first."""
    leaves: dict[str, int] = field(default_factory=dict)
    """The last token of each label, by its place in the tree."""
    _places: dict[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def build(cls, tokenizer: Any, labels: Iterable[str]) -> Self:
        """The tree of different labels, spelled as the model would write them at the start of its answer."""
        tree = cls(int(tokenizer.eos_token_id))
        for label in labels:
            tree._add(label, tokenizer(defused(tokenizer, label), add_special_tokens=False)["input_ids"])
        return tree

    def _add(self, label: str, tokens: Sequence[int]) -> None:
        place = PROMPT
        for depth, token in enumerate(tokens, 1):
            parent, place = place, self._places.setdefault((place, token), len(self.ids))
            if place == len(self.ids):
                self.ids.append(token)
                self.parents.append(parent)
                self.depth.append(depth)
        self.leaves[label] = place

    @property
    def mask(self) -> Any:
        """Which tokens of the tree each one sees: a boolean tensor [tokens, tokens]."""
        import torch

        sees = torch.eye(len(self.ids), dtype=torch.bool)
        for place, parent in enumerate(self.parents):  # parents come first, so theirs is complete
            if parent != PROMPT:
                sees[place] |= sees[parent]
        return sees

    def logprobs(self, logits_last: Any, logits_nodes: Any) -> dict[str, float]:
        """The log-probability of each label as the whole answer.

        From the logits after the prompt, [vocabulary], and after each token of the tree, [tokens, vocabulary].
        """
        import torch

        told = torch.cat([logits_last.view(1, -1), logits_nodes])
        total = torch.cat([some.float().logsumexp(-1) for some in told.split(_ROWS)])
        before = torch.tensor(self.parents, device=told.device) + 1
        steps = told[before, torch.tensor(self.ids, device=told.device)].float() - total[before]
        ends = told[1:, self.end].float() - total[1:]
        found = (self.mask.to(told.device, torch.float32) @ steps + ends).tolist()
        return {label: found[leaf] for label, leaf in self.leaves.items()}

    def scores(self, logits_last: Any, logits_nodes: Any, temperature: float = 1.0) -> dict[str, float]:
        """The probability of each label, given that the answer is one of them."""
        return probabilities(self.logprobs(logits_last, logits_nodes), temperature)


def probabilities(logprobs: Mapping[str, float], temperature: float = 1.0) -> dict[str, float]:
    """Log-probabilities made to sum to one; above 1, the temperature takes certainty away."""
    best = max(logprobs.values())
    weights = {label: math.exp((value - best) / temperature) for label, value in logprobs.items()}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def fit_temperature(logprobs: Sequence[Mapping[str, float]], truths: Sequence[str]) -> float:
    """The temperature under which held-out truths are most probable (Guo et al., 2017), between 0.05 and 20."""
    low, high = math.log(0.05), math.log(20)
    for _ in range(_NARROWINGS):  # the loss has one minimum over the logarithm
        third = (high - low) / 3
        if _loss(logprobs, truths, low + third) < _loss(logprobs, truths, high - third):
            high -= third
        else:
            low += third
    return math.exp((low + high) / 2)


def _loss(logprobs: Sequence[Mapping[str, float]], truths: Sequence[str], log_temperature: float) -> float:
    temperature = math.exp(log_temperature)
    return sum(_surprise(found, truth, temperature) for found, truth in zip(logprobs, truths, strict=True))


def _surprise(logprobs: Mapping[str, float], truth: str, temperature: float) -> float:
    """The negative log-probability of the truth, without taking the logarithm of a rounded zero."""
    best = max(logprobs.values())
    total = sum(math.exp((value - best) / temperature) for value in logprobs.values())
    return math.log(total) - (logprobs[truth] - best) / temperature
