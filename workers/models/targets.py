"""The layers of a model that an adapter may change."""

from __future__ import annotations

from typing import Any


def targets(model: Any) -> dict[str, tuple[int, int]]:
    """Every linear layer with its (out, in) features; the output layer is the embeddings' twin and stays as it is."""
    from torch.nn import Linear

    head = model.get_output_embeddings()
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, Linear) and module is not head
    }
