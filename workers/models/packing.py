"""Turns weights from one form into another: GGUF into bf16 safetensors, dense weights into 4 bits."""

from __future__ import annotations

import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from switchtower.errors import BaseModelError
from workers.models.checks import check_architecture
from workers.models.fourbits import expect_fit
from workers.models.loading import blueprint, expect_all, load_model, with_template
from workers.models.progress import Overheard, Progress
from workers.models.source import BESIDE
from workers.models.targets import targets
from workers.quiet import quiet

_UNPACKED = 4
"""How much larger than its GGUF file a model in bf16 is at most, as most files have 4 bits and more for a weight."""


def unpack(source: Path, target: Path, name: str, progress: Progress) -> None:
    """Write a GGUF file's weights and tokenizer as bf16 safetensors."""
    expect_room(target, _UNPACKED * source.stat().st_size)
    try:
        tokenizer, model = _read(source, progress)
    except BaseModelError:
        raise
    except Exception as error:  # noqa: BLE001 - the reader of GGUF trips over spoilt files in many ways
        said = f"{source}: its weights cannot be unpacked ({error}); fetch it again, or take its safetensors"
        raise BaseModelError(said) from None
    check_architecture(source, model.config.model_type)
    with_template(source, tokenizer).save_pretrained(target)
    model.config._name_or_path = name
    progress.begin("writing the weights")
    with quiet():
        model.save_pretrained(target)


def quantise(dense: Path, target: Path, device: str, progress: Progress) -> None:
    """Write dense weights in 4 bits, with the same tokenizer."""
    expect_fit(dense.parent.name, targets(blueprint(dense)), device)
    with quiet():
        import torch
        from transformers import BitsAndBytesConfig

        progress.begin("packing the weights into 4 bits")
        four_bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        load_model(dense, "bfloat16", device, quantization_config=four_bits).save_pretrained(target)
    for file in (file for pattern in BESIDE for file in dense.glob(pattern)):
        if not (target / file.name).exists():
            shutil.copy(file, target)


def expect_room(folder: Path, needed: int) -> None:
    """Refuse before the disk is full."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BaseModelError(f"{folder.parent} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed")


def _read(source: Path, progress: Progress) -> tuple[Any, Any]:
    with quiet():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        progress.begin("reading the tokenizer")
        load: Any = AutoModelForCausalLM.from_pretrained
        place: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **place)
        progress.begin("unpacking the weights to bf16")
        with redirect_stderr(Overheard(progress)):  # the reader draws a bar that no setting turns off
            model, info = load(
                source.parent,
                dtype=torch.bfloat16,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **place,
            )
    expect_all(source, info)
    return tokenizer, model
