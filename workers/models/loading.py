"""Reads a model's folder with transformers; whatever goes wrong there gets a name and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from switchtower.errors import BaseModelError
from workers.quiet import quiet


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer with its chat template."""
    with quiet():
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # noqa: BLE001 - the tokenizers library raises nothing narrower
            raise BaseModelError(f"{folder}: it has no tokenizer that can be read ({_said(error)})") from None
    return with_template(folder, tokenizer)


def with_template(source: Path, tokenizer: Any) -> Any:
    """The tokenizer, where it knows how a conversation is written down."""
    if not tokenizer.chat_template:
        raise BaseModelError(f"{source}: it has no chat template; put the right chat_template.jinja beside its weights")
    return tokenizer


def load_model(folder: Path, dtype: str, device: str, **options: Any) -> Any:
    """The model with every one of its weights; transformers alone would make up what is missing."""
    with quiet():
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        load: Any = AutoModelForCausalLM.from_pretrained
        try:
            model, info = load(
                folder,
                dtype=getattr(torch, dtype),
                device_map={"": device},
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **options,
            )
        except SafetensorError as error:
            raise BaseModelError(f"{folder}: its weights are cut short or spoilt ({error}); fetch it again") from None
        except torch.OutOfMemoryError:
            raise BaseModelError(f"{folder}: {device} has no room for it; set local.weights or gpu_layers") from None
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
            raise BaseModelError(f"{folder}: transformers cannot load it ({_said(error)})") from None
    expect_all(folder, info)
    return model.eval()


def expect_all(source: Path, info: dict[str, Any]) -> None:
    """Refuse a model with weights that transformers did not find and drew at random."""
    if missing := info["missing_keys"]:
        raise BaseModelError(f"{source}: {len(missing)} weights are missing, the first is {min(missing)}")


def fitting(folder: Path, tokenizer: Any, model: Any) -> Any:
    """The tokenizer, where its tokens are the model's."""
    said = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=True, return_dict=True)
    tokens, rows = said["input_ids"], model.get_input_embeddings().weight.shape[0]
    if not tokens or max(tokens) >= rows or tokenizer.vocab_size > rows:
        raise BaseModelError(f"{folder}: its tokenizer belongs to another model; bring both from the same place")
    return tokenizer


def blueprint(folder: Path) -> Any:
    """The model's layers without their weights."""
    with quiet():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def context_of(folder: Path) -> int:
    """How many tokens the model was made for, as its configuration says."""
    with quiet():
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True).get_text_config()
    length = getattr(config, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        raise BaseModelError(f"{folder}: its config.json names no max_position_embeddings; add it")
    return length


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
