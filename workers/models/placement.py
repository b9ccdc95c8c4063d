"""Which layer runs on which device."""

from __future__ import annotations

from functools import partial
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
    """Put each part on its device, where it is computed; what a part is given is brought there as it comes.

    accelerate's own `dispatch_model` would send the CPU's layers to the GPU for each token.
    """
    for name, device in placed.items():
        part = model.get_submodule(name).to(device)
        part.register_forward_pre_hook(partial(_bring, device), with_kwargs=True)
    return model


def _bring(device: str, _: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    from accelerate.utils import send_to_device

    return send_to_device(given, device), send_to_device(named, device)


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
