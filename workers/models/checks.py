"""What must be true of a model's folder before transformers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from switchtower.errors import BaseModelError
from workers.models.manifest import Form
from workers.models.source import CONFIG, INDEX, read_json, weights_of


def check_folder(folder: Path) -> Form:
    """Refuse what cannot be a causal language model of safetensors; says whether it comes dense or in 4 bits."""
    config = read_json(folder / CONFIG)
    form = _form(folder, config)
    check_architecture(folder, config.get("model_type"))
    check_weights(folder)
    return form


def check_architecture(folder: Path, kind: Any) -> None:
    """Only architectures whose attention can be replaced by the engine's."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise BaseModelError(f"{folder}: {kind!r} is no causal language model that this transformers release knows")
    model: Any = MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[kind]]
    if not model._supports_attention_backend or model._is_stateful:
        raise BaseModelError(f"{folder}: the engine cannot batch {kind!r}; take a model like Llama, Qwen or Phi")


def check_weights(folder: Path) -> None:
    """Every file is whole, and every tensor of the index is where it says."""
    held = {file.name: _tensors(file) for file in weights_of(folder)}
    if not (folder / INDEX).is_file():
        return
    for tensor, shard in read_json(folder / INDEX)["weight_map"].items():
        if tensor not in held[shard]:
            raise BaseModelError(f"{folder}: {shard} lacks the tensor {tensor}; fetch it again")


def _tensors(file: Path) -> set[str]:
    import safetensors

    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            return set(opened.keys())
    except safetensors.SafetensorError as error:
        raise BaseModelError(f"{file} is cut short or no safetensors file ({error}); fetch it again") from None


def _form(folder: Path, config: dict[str, Any]) -> Form:
    packed = config.get("quantization_config")
    if not packed:
        return "dense"
    if packed.get("quant_method") == "bitsandbytes" and packed.get("load_in_4bit"):
        return "nf4"
    how = packed.get("quant_method", "an unknown method")
    raise BaseModelError(f"{folder}: it is quantised by {how}; take the unquantised model, it is packed to 4 bits here")
