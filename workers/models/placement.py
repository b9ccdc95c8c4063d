"""Which layer runs on which device."""

from __future__ import annotations

from typing import Any


def devices(model: Any, gpu_layers: int, gpu: str) -> dict[str, str]:
    """The first layers, the embeddings and the head on the GPU; the layers after them on the CPU."""
    prefix, layers = decoder_layers(model)
    placed = {f"{prefix}.{number}": gpu if number < gpu_layers else "cpu" for number in range(len(layers))}
    return dict.fromkeys(_around(model, prefix), gpu) | placed


def decoder_layers(model: Any) -> tuple[str, Any]:
    """The name and the list of the model's decoder layers."""
    from torch.nn import ModuleList

    count = model.config.get_text_config().num_hidden_layers
    return next((n, m) for n, m in model.named_modules() if isinstance(m, ModuleList) and len(m) == count)


def spread(model: Any, placed: dict[str, str]) -> Any:
    """Put each part on its device; what a part is given is moved there as it comes.

    The CPU is named as the main device so that its layers are computed there, not sent to the GPU for each token.
    """
    from accelerate import dispatch_model

    return dispatch_model(model, placed, main_device="cpu")


def _around(model: Any, prefix: str, name: str = "") -> list[str]:
    """The largest parts that hold no decoder layer."""
    names = []
    for child, _ in model.named_children():
        full = f"{name}.{child}" if name else child
        if prefix.startswith(f"{full}."):
            names += _around(model.get_submodule(child), prefix, full)
        elif full != prefix:
            names.append(full)
    return names
