"""A real base model in fp32, adapters of random numbers on a shelf, and what PEFT says to the same question."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

from switchtower.models import Sampling
from switchtower.settings import Local, settings
from workers.adapters.shelf import CARD, CONFIG, WEIGHTS, AdapterShelf, version_of
from workers.engine.chat import prompt_ids
from workers.models import base as base_model

QUESTION = [{"role": "user", "content": "Tell me about the sea in three sentences."}]
SMALL = Local(max_concurrent_adapters=4, max_batch=8, prefill_chunk=64, kv_cache_mb=512, threads=1)


def load_base(dtype="float32"):
    return base_model.load(settings().local.cache_directory, dtype=dtype)


def write_random(folder: Path, linears, seed, rank=2, targets=("q_proj",), size=0.25, base=base_model.NAME):
    """An adapter that changes answers, and is otherwise without sense."""
    import torch
    from safetensors.torch import save

    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (out, into) in linears.items():
        if name.rpartition(".")[2] in targets:
            for side, shape in (("A", (rank, into)), ("B", (out, rank))):
                noise = torch.randn(shape, generator=draw, dtype=torch.float32) * size
                tensors[f"base_model.model.{name}.lora_{side}.weight"] = noise.to(torch.bfloat16)
    weights = save(tensors)
    folder.mkdir(exist_ok=True)
    about = {"name": folder.name, "version": 1, "base": base, "rank": rank, "seed": seed}
    about |= {"capabilities": ["general"], "system_prompt": "", "sha256": hashlib.sha256(weights).hexdigest()}
    shape = {"peft_type": "LORA", "base_model_name_or_path": base, "r": rank, "lora_alpha": 4}
    (folder / CARD).write_text(json.dumps(about))
    (folder / CONFIG).write_text(json.dumps(shape | {"target_modules": list(targets)}))
    (folder / WEIGHTS).write_bytes(weights)


def shelf_of(directory, linears, **adapters) -> AdapterShelf:
    """A shelf of random adapters: `shelf_of(path, linears, red={"rank": 4})` has `red-v1`."""
    for seed, (name, how) in enumerate(adapters.items()):
        write_random(directory / f"{name}-v1", linears, seed, **how)
    return AdapterShelf(directory)


def ask(engine, adapter=None, sampling=None, on_token=lambda _: None, stop=lambda: None, messages=QUESTION, **more):
    return engine.generate(messages, adapter, sampling or Sampling(max_tokens=10), on_token, stop, **more)


def ask_together(engine, *questions):
    """Ask from a thread each; gives the answers, or the exceptions, in order."""
    found = [None] * len(questions)

    def one(index, question):
        try:
            found[index] = ask(engine, **question)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found[index] = error

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(questions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found


def peft_answers(base, shelf, names, messages, tokens):
    """What PEFT's own forward answers greedily, one adapter at a time, without the adapter for `None`."""
    import torch

    from workers.training.switch import put_on

    ids = torch.tensor([prompt_ids(base.tokenizer, messages)])
    peft, answers = None, {}
    for name in filter(None, names):
        adapter = shelf.take(name, base.linears())
        peft = put_on(base, peft, adapter)
        peft.set_adapter(version_of(adapter.card))
        answers[name] = _generated(torch, peft, ids, tokens)
    if None in names:
        with peft.disable_adapter():
            answers[None] = _generated(torch, peft, ids, tokens)
    return {name: base.tokenizer.decode(found, skip_special_tokens=True) for name, found in answers.items()}


def _generated(torch, model, ids, tokens):
    with torch.inference_mode():
        whole = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
        )
    return whole[0, ids.shape[1] :]
