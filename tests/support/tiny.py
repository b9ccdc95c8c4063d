"""Base models of a few kilobytes: as a folder of safetensors, and as a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workers.quiet import quiet

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
CONTEXT, ROWS = 128, 320
SHAPE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "max_position_embeddings": CONTEXT}


def write_model(folder: Path, kind: str = "llama", shard: str = "5GB", **shape: Any) -> Path:
    """A model of random weights with a tokenizer and a chat template."""
    with quiet():
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(1)
        tokenizer = _tokenizer()
        config = AutoConfig.for_model(kind, vocab_size=ROWS, **{**SHAPE, **shape})
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder, max_shard_size=shard)
        tokenizer.save_pretrained(folder)
    return folder


def write_gguf(file: Path, architecture: str = "llama", template: str | None = TEMPLATE) -> Path:
    """The same kind of model as llama.cpp writes it down, in 32 bits."""
    import numpy as np
    from gguf import GGUFWriter

    writer, draw = GGUFWriter(file, architecture), np.random.default_rng(1)
    width, inner, layers, heads, shared = (SHAPE[name] for name in list(SHAPE)[:5])
    writer.add_name(file.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    vocabulary = _gguf_tokenizer(writer, template)
    key = width // heads * shared
    shapes = {"token_embd": (vocabulary, width), "output_norm": (width,)}
    for layer in range(layers):
        one = {"attn_norm": (width,), "attn_q": (width, width), "attn_k": (key, width), "attn_v": (key, width)}
        one |= {"attn_output": (width, width), "ffn_norm": (width,), "ffn_gate": (inner, width)}
        one |= {"ffn_up": (inner, width), "ffn_down": (width, inner)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in one.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.standard_normal(shape, dtype=np.float32) / 8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def edit_json(file: Path, **changes: Any) -> None:
    """Change a JSON file; what is set to None goes away."""
    found = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    signs = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(signs)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = dict(zip(("unk_token", "bos_token", "eos_token"), signs, strict=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=CONTEXT, **special)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _gguf_tokenizer(writer: Any, template: str | None) -> int:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<unk>", "<s>", "</s>", "\u0120", *letters, "th", "the"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if template is not None:
        writer.add_chat_template(template)
    writer.add_vocab_size(len(tokens))
    return len(tokens)
