"""Puts checked adapters on a model through PEFT; whoever calls holds the model alone."""

from __future__ import annotations

from typing import Any

from workers.adapters.shelf import Adapter, Shape, version_of
from workers.models.base import BaseModel
from workers.quiet import quiet

_ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_config(rank: int, alpha: int, targets: list[str] | None = None) -> Any:
    """PEFT's configuration for a plain LoRA adapter, by default on all linears."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets or _ADAPTED, task_type="CAUSAL_LM")


def put_on(base: BaseModel, peft: Any, adapter: Adapter) -> Any:
    """Load a checked adapter onto the base, and return the PEFT model that knows it."""
    from peft import PeftModel

    name, shape = version_of(adapter.card), adapter.shape
    config = lora_config(shape.r, shape.lora_alpha, list(shape.target_modules))
    with quiet():
        if peft is None:
            peft = PeftModel(base.model, config, adapter_name=name, autocast_adapter_dtype=False)
        else:
            peft.add_adapter(name, config, autocast_adapter_dtype=False)
    _fill(peft, name, adapter, base.model.dtype)
    return peft.eval()


def _fill(peft: Any, name: str, adapter: Adapter, dtype: Any) -> None:
    """Set the adapter's weights one by one, in the type that the base computes in.

    Never through `state_dict`: asked for it, bitsandbytes unpacks the CPU's 4-bit weights and rounds
    their scales anew, so that each adapter that comes would change every answer a little.
    """
    import torch
    from safetensors.torch import load

    for key, tensor in load(adapter.weights).items():
        layer = peft.get_submodule(key.removesuffix(".weight"))[name]
        device = layer.weight.device
        layer.weight = torch.nn.Parameter(tensor.to(device, dtype), requires_grad=False)


def shape_of(config: Any, base: str) -> Shape:
    """What is written to disk of a LoRA configuration."""
    return Shape(
        peft_type="LORA",
        base_model_name_or_path=base,
        r=config.r,
        lora_alpha=config.lora_alpha,
        target_modules=tuple(sorted(config.target_modules)),
    )
