"""Decoding against the memory's bandwidth: a model of random weights, by batch, adapters and form of the weights.

A decoding step reads every weight and every kept key and value once, so a step cannot take less than those bytes
take; the roofline is the batch over that time. Beside it stand transformers' own `generate` and its continuous
batching, without adapters. A device and a size are chosen by options; nothing is loaded from anywhere.

    python ops/bench/roofline.py --size 8b                  # on a GPU: 32 layers of 4096
    python ops/bench/roofline.py --size small --batches 1 8 # on a CPU: a minute
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from report import Row, console, finish, parser

from workers.adapters.weights import HostWeights
from workers.engine.bank import SlotBank
from workers.engine.cache import RowCache, Shape
from workers.engine.layout import Part
from workers.engine.runner import Runner
from workers.models.targets import targets
from workers.quiet import quiet

SIZES = {
    "small": {"layers": 8, "width": 512, "inner": 1536, "heads": 8, "shared": 4, "words": 8192},
    "1b": {"layers": 16, "width": 2048, "inner": 8192, "heads": 32, "shared": 8, "words": 128_256},
    "8b": {"layers": 32, "width": 4096, "inner": 14_336, "heads": 32, "shared": 8, "words": 128_256},
}
RANK = 16


@dataclass(frozen=True)
class Place:
    """Where it runs."""

    device: str

    def clock(self, work: Callable[[], object], times: int) -> float:
        """The median seconds of a piece of work, the device's queue emptied before and after."""
        work()
        found = []
        for _ in range(times):
            self._settle()
            started = time.perf_counter()
            work()
            self._settle()
            found.append(time.perf_counter() - started)
        return median(found)

    def _settle(self) -> None:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def bandwidth(self) -> float:
        """Bytes a second that a copy reads and writes."""
        import torch

        size = 2**30 if self.device.startswith("cuda") else 2**27
        source = torch.ones(size // 4, device=self.device)
        target = torch.empty_like(source)
        return 2 * size / self.clock(lambda: target.copy_(source), 10)


def make_model(size: str, device: str, form: str) -> Any:
    """A Llama of random weights; in NF4 all linears but the head are packed."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = SIZES[size]
    config = LlamaConfig(
        num_hidden_layers=shape["layers"], hidden_size=shape["width"], intermediate_size=shape["inner"],
        num_attention_heads=shape["heads"], num_key_value_heads=shape["shared"], vocab_size=shape["words"],
        max_position_embeddings=8192,
    )  # fmt: skip
    with quiet(), torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    if form == "nf4":
        _pack(model, device)
    return model


def _pack(model: Any, device: str) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name in targets(model):
        parent, _, leaf = name.rpartition(".")
        old = model.get_submodule(name)
        new = Linear4bit(old.in_features, old.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
        new.weight = Params4bit(old.weight.data.cpu(), requires_grad=False, quant_type="nf4")
        setattr(model.get_submodule(parent), leaf, new.to(device))


def weight_bytes(model: Any) -> int:
    """What a step reads of the weights: all but the embeddings, of which it looks up a few rows."""
    embeddings = model.get_input_embeddings().weight
    kept = {id(one): one for one in model.parameters()}
    total = sum(one.nbytes for one in kept.values()) - embeddings.nbytes
    scales = [one.quant_state.absmax.nbytes for one in kept.values() if getattr(one, "quant_state", None) is not None]
    return int(total + sum(scales))


def engine_rate(place: Place, model: Any, batch: int, length: int, adapters: int, steps: int) -> float:
    """Tokens a second of our step, each row with an adapter of its own as far as there are so many."""
    import torch

    linears = targets(model)
    bank, cache = SlotBank(model, linears, max(1, adapters), RANK), RowCache(Shape.of(model), 2**40)
    cache.grow(batch, length + 1)
    for slot in range(1, adapters + 1):
        bank.load(slot, _adapter(torch, linears))
    runner = Runner(_Base(model), bank, cache)  # type: ignore[arg-type]
    parts = [Part(row, row % adapters + 1 if adapters else 0, length, [1]) for row in range(batch)]
    try:
        return batch / place.clock(lambda: runner.run(parts, batch), steps)
    finally:
        bank.detach()
        model.set_attn_implementation("sdpa")


@dataclass(frozen=True)
class _Base:
    model: Any
    quantised: bool = True


def _adapter(torch: Any, linears: dict[str, tuple[int, int]]) -> HostWeights:
    def noise(*shape: int) -> Any:
        return torch.randn(shape, dtype=torch.bfloat16) * 0.01

    tensors = {name: (noise(RANK, into), noise(out, RANK)) for name, (out, into) in linears.items()}
    return HostWeights("random", RANK, 1.0, tensors, 0)


def generate_rate(place: Place, model: Any, batch: int, length: int, steps: int) -> float:
    """Tokens a second of `generate`, its prefill taken out by the difference of two lengths."""
    import torch

    ids = torch.ones((batch, length), dtype=torch.long, device=place.device)
    mask = torch.ones_like(ids)

    def run(tokens: int) -> None:
        with torch.inference_mode():
            model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
            )

    few, many = place.clock(lambda: run(1), 3), place.clock(lambda: run(1 + steps), 3)
    return batch * steps / (many - few) if many > few else float("nan")


def batching_rate(model: Any, batch: int, length: int, steps: int) -> float:
    """Tokens a second of transformers' continuous batching, prefill included; nothing where it does not run."""
    from transformers import GenerationConfig

    prompts = [[1] * length for _ in range(batch)]
    how = GenerationConfig(max_new_tokens=steps, do_sample=False, eos_token_id=-1, pad_token_id=0)
    started = time.perf_counter()
    with quiet():
        found = model.generate_batch(inputs=prompts, generation_config=how)
    return sum(len(one.generated_tokens) for one in found.values()) / (time.perf_counter() - started)


def swap_row(place: Place, model: Any) -> Row:
    """An adapter from host memory into a slot."""
    import torch

    linears = targets(model)
    bank, adapter = SlotBank(model, linears, 2, RANK), _adapter(torch, linears)

    def swap() -> None:
        bank.clear(1)
        bank.load(1, adapter)

    seconds = place.clock(swap, 5)
    bank.detach()
    return Row(f"adapter of rank {RANK} into a slot", f"{seconds * 1000:.1f} ms")


def form_rows(place: Place, said: Any, form: str, bandwidth: float) -> list[Row]:
    """All batches and numbers of adapters on one form of the weights."""
    model = make_model(said.size, place.device, form)
    per_token, rows = Shape.of(model).token_bytes, []
    for batch in said.batches:
        read = weight_bytes(model) + batch * said.length * per_token
        most = batch * bandwidth / read
        for adapters in said.adapters:
            rate = engine_rate(place, model, batch, said.length, min(adapters, batch), said.steps)
            rows.append(Row(f"{form}, batch {batch}, {adapters} adapters", f"{rate:.0f} tokens/s, {rate / most:.0%}"))
        rate = generate_rate(place, model, batch, said.length, said.steps)
        rows.append(Row(f"{form}, batch {batch}, generate", f"{rate:.0f} tokens/s, {rate / most:.0%}"))
        with suppress(Exception):  # it refuses devices and forms; then there is no row
            rate = batching_rate(model, batch, said.length, said.steps)
            rows.append(Row(f"{form}, batch {batch}, transformers' continuous batching", f"{rate:.0f} tokens/s"))
        console.print(f"[dim]{form}, batch {batch}[/]")
    rows.append(swap_row(place, model))
    if said.profile:
        _profile(place, model, said)
    return rows


def _profile(place: Place, model: Any, said: Any) -> None:
    """Where a step's time goes, at the largest batch."""
    from torch.profiler import ProfilerActivity, profile

    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * place.device.startswith("cuda")
    with profile(activities=kinds) as seen:
        engine_rate(place, model, said.batches[-1], said.length, min(8, said.batches[-1]), 5)
    key = "self_cuda_time_total" if place.device.startswith("cuda") else "self_cpu_time_total"
    console.print(seen.key_averages().table(sort_by=key, row_limit=15, max_name_column_width=48))


def main() -> int:
    """Run the bench."""
    made = parser(__doc__)
    made.add_argument("--size", choices=list(SIZES), default="small")
    made.add_argument("--device", help="cpu or cuda; the best there is by default")
    made.add_argument("--forms", nargs="*", choices=["bf16", "nf4"], default=["bf16", "nf4"])
    made.add_argument("--batches", nargs="*", type=int, default=[1, 16, 64, 256])
    made.add_argument("--adapters", nargs="*", type=int, default=[0, 1, 8, 64])
    made.add_argument("--length", type=int, default=256, help="tokens that each row has kept")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--profile", action="store_true", help="also print where a step's time goes")
    said = made.parse_args()
    from workers.models.base import best_device

    place = Place(said.device or best_device())
    bandwidth = place.bandwidth()
    rows = [Row("bandwidth of a copy", f"{bandwidth / 1e9:.0f} GB/s")]
    for form in said.forms:
        rows += form_rows(place, said, form, bandwidth)
        gc.collect()
    return finish(f"decoding, {said.size} on {place.device}, {said.length} tokens kept", rows, {}, said.json)


if __name__ == "__main__":
    sys.exit(main())
