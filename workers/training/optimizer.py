"""AdamW under a one-cycle schedule, on fp32 copies of bf16 weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WARM_UP = 0.1
"""The share of the steps in which the rate rises."""
CLIP = 1.0


def rate(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up in a line, down in half a cosine. It has no state that could be lost."""
    rising = max(1, round(steps * WARM_UP))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising + 1) / (steps - rising + 1))) / 2


class Optimizer:
    """Keeps the exact weights; the model works with their bf16 roundings, which is also what is served."""

    def __init__(self, parameters: Sequence[Any], steps: int, peak: float) -> None:
        import torch

        self._parameters = list(parameters)
        self._exact = [torch.nn.Parameter(parameter.detach().float().clone()) for parameter in self._parameters]
        self._adam = torch.optim.AdamW(self._exact, lr=peak, weight_decay=0.0)
        self._steps, self._peak = steps, peak

    def update(self, step: int, loss: Any) -> None:
        """One step down the loss."""
        import torch

        loss.backward()
        for exact, parameter in zip(self._exact, self._parameters, strict=True):
            exact.grad, parameter.grad = parameter.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self._exact, CLIP)
        for group in self._adam.param_groups:
            group["lr"] = rate(step, self._steps, self._peak)
        self._adam.step()
        self._round()

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors."""
        adam = self._adam.state_dict()["state"]
        moments = {f"{place}.{name}": value for place, kept in adam.items() for name, value in kept.items()}
        return moments | {f"{place}.weight": exact.detach() for place, exact in enumerate(self._exact)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for place, exact in enumerate(self._exact):
            exact.data.copy_(state[f"{place}.weight"])
        names = ("step", "exp_avg", "exp_avg_sq")
        kept = {place: {name: state[f"{place}.{name}"] for name in names} for place in range(len(self._exact))}
        self._adam.load_state_dict({"state": kept, "param_groups": self._adam.state_dict()["param_groups"]})
        self._round()

    def _round(self) -> None:
        for exact, parameter in zip(self._exact, self._parameters, strict=True):
            parameter.data.copy_(exact.data)
