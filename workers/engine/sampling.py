"""From logits to tokens, for all rows of a step at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.engine.request import Request

NUCLEUS = 1024
"""So many likely tokens are looked at first for `top_p`; where they do not suffice, all are."""


def choose(logits: Any, requests: Sequence[Request]) -> list[int | None]:
    """A token for each row of logits [rows, vocabulary]; nothing for a row whose logits are no numbers."""
    import torch

    best, tokens = logits.max(dim=-1)
    chosen: list[int | None] = tokens.tolist()
    for index, whole in enumerate(torch.isfinite(best).tolist()):
        if not whole:
            chosen[index] = None
        elif requests[index].sampling.temperature > 0:
            chosen[index] = _drawn(logits[index], requests[index])
    return chosen


def _drawn(logits: Any, request: Request) -> int:
    """One token by the Gumbel-max trick (Gumbel, 1954), on the CPU, so that a seed says the same everywhere."""
    import torch

    sampling = request.sampling
    scores = logits.float().cpu() / sampling.temperature
    noise = torch.empty_like(scores).exponential_(generator=request.generator()).log_()
    if sampling.top_p < 1:
        kept = _nucleus(scores.softmax(-1), sampling.top_p)
        return int(kept[(scores[kept] - noise[kept]).argmax()])
    return int((scores - noise).argmax())


def _nucleus(chances: Any, top_p: float) -> Any:
    """The fewest most likely tokens that together have this much of the probability."""
    few = chances.topk(min(NUCLEUS, len(chances)))
    if float(few.values.sum()) < top_p:
        few = chances.sort(descending=True)
    before = few.values.cumsum(-1) - few.values
    return few.indices[before < top_p]
