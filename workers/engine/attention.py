"""Attention for tokens of many rows side by side: no padding, each row reads its own keys and values.

It is registered with transformers under a name of its own, and reached by the model's own forward: the step's
layout travels there as a keyword argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchtower.errors import BaseModelError

if TYPE_CHECKING:
    from workers.engine.layout import Layout

NAME = "switchtower"

_FOREIGN = ("softcap", "s_aux")
"""What some architectures add to attention's arithmetic, and this one does not do."""


def adopt(model: Any) -> None:
    """Make a loaded transformers model use this attention; raises `BaseModelError` where it cannot."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    try:
        model.set_attn_implementation(NAME)
    except ValueError as error:
        raise BaseModelError(f"this architecture takes no attention but its own: {error}") from None


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    _mask: Any,
    *,
    layout: Layout,
    scaling: float | None = None,
    **how: Any,
) -> tuple[Any, None]:
    """Attention over a step; takes [1, heads, tokens, size] and gives [1, tokens, heads, size]."""
    if any(how.get(name) is not None for name in _FOREIGN):
        raise BaseModelError("this architecture's attention has terms that the engine does not compute")
    import torch

    window = how.get("sliding_window")
    keys, values = layout.cache.write(module.layer_idx, layout, key, value)
    views = layout.views(query.device, query.dtype, window)
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            view.queries(query), view.of(keys), view.of(values), attn_mask=view.mask, scale=scaling, enable_gqa=True
        )
        for view in views
    ]
    answers = [view.tokens(part) for view, part in zip(views, parts, strict=True)]
    if layout.padding:
        answers.append(query.new_zeros((layout.padding, *answers[0].shape[1:])))
    return torch.cat(answers).unsqueeze(0), None
