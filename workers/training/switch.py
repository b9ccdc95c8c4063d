"""Puts checked adapters on the model and switches between them; whoever calls holds the model alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workers.adapters.shelf import Adapter, AdapterShelf, Card, Shape
from workers.models.base import BaseModel
from workers.quiet import quiet

_ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_config(rank: int, alpha: int, targets: list[str] | None = None) -> Any:
    """PEFT's configuration for a plain LoRA adapter, by default on all linears."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets or _ADAPTED, task_type="CAUSAL_LM")


class AdapterSwitch:
    """The adapters on a loaded base model: each loaded when first asked for, the least used ones taken off again."""

    def __init__(self, base: BaseModel, shelf: AdapterShelf, keep: int) -> None:
        self._base = base
        self._shelf = shelf
        self._keep = keep
        self._linears = base.linears()
        self._worn: dict[str, str] = {}  # version -> name, the least recently used first
        self._peft: Any = None

    @contextmanager
    def on(self, name: str | None) -> Iterator[None]:
        """Inside the block the model answers with this adapter; with none, as the base model."""
        if name is not None:
            self._wear(name)
            yield
        elif self._peft is None:
            yield
        else:
            with self._peft.disable_adapter():
                yield

    def _wear(self, name: str) -> None:
        """Switch to the adapter; load it first unless this very version, by its card's hash, is loaded."""
        version = version_of(self._shelf.card(name))
        if version not in self._worn:
            adapter = self._shelf.take(name, self._linears)
            version = version_of(adapter.card)
            self._peft = put_on(self._base, self._peft, adapter)
        self._worn.pop(version, None)
        self._worn[version] = name
        self._peft.set_adapter(version)
        self._take_off(version)

    def _take_off(self, current: str) -> None:
        """Drop older versions of the current adapter, and then whatever is over the limit."""
        mine = self._worn[current]
        stale = [version for version, name in self._worn.items() if name == mine and version != current]
        rest = [version for version in self._worn if version not in stale]
        for version in [*stale, *rest[: max(0, len(rest) - self._keep)]]:
            self._peft.delete_adapter(version)
            del self._worn[version]


def version_of(card: Card) -> str:
    """The name under which PEFT knows this version of an adapter."""
    return f"{card.name}-{card.sha256[:12]}"


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
    _fill(peft, name, adapter)
    return peft.eval()


def _fill(peft: Any, name: str, adapter: Adapter) -> None:
    """Set the adapter's weights one by one, in bf16.

    Never through `state_dict`: asked for it, bitsandbytes unpacks the CPU's 4-bit weights and rounds
    their scales anew, so that each adapter that comes would change every answer a little.
    """
    import torch
    from safetensors.torch import load

    for key, tensor in load(adapter.weights).items():
        layer = peft.get_submodule(key.removesuffix(".weight"))[name]
        device = layer.weight.device
        layer.weight = torch.nn.Parameter(tensor.to(device, torch.bfloat16), requires_grad=False)


def shape_of(config: Any, base: str) -> Shape:
    """What is written to disk of a LoRA configuration."""
    return Shape(
        peft_type="LORA",
        base_model_name_or_path=base,
        r=config.r,
        lora_alpha=config.lora_alpha,
        target_modules=tuple(sorted(config.target_modules)),
    )
