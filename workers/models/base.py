"""The base model of a worker: prepared in the cache once, checked and loaded from there.

Covered: causal language models of Llama's kind, from the wheel, a folder of safetensors or a GGUF file, on one
device or with their last layers on the CPU. Not covered: several GPUs, vision and audio, remote code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from switchtower.errors import BaseModelError
from switchtower.settings import Local
from workers.models import fourbits, manifest
from workers.models.builtin import CONTEXT_TOKENS, NAME
from workers.models.loading import fitting, load_model, load_tokenizer
from workers.models.making import make
from workers.models.manifest import Form
from workers.models.placement import devices, spread
from workers.models.progress import Progress
from workers.models.release import empty
from workers.models.shelf import Hold, alone
from workers.models.source import FORMS, Source, resolve
from workers.models.targets import targets
from workers.models.threads import settle

__all__ = ["CONTEXT_TOKENS", "NAME", "BaseModel", "load", "load_dense", "prepare", "prepare_served", "served"]

Weights = Literal["auto", "nf4", "bfloat16", "float32"]
"""What the weights are computed from; `auto` is 4 bits where the device computes them well, bf16 elsewhere."""

_OF_SETTING: dict[str, Weights] = {"auto": "auto", "nf4": "nf4", "bf16": "bfloat16", "fp32": "float32"}

_WHOLE = {None, -1, 0}
"""Numbers of layers on the GPU that leave the model on one device."""


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A loaded base model; whoever holds it is its only user."""

    model: Any
    tokenizer: Any
    device: str
    quantised: bool
    name: str = NAME
    context_tokens: int = CONTEXT_TOKENS
    sha256: str = ""
    threads: int | None = None
    hold: Hold | None = None
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def linears(self) -> dict[str, tuple[int, int]]:
        """Every linear layer that an adapter may change, with its (out, in) features."""
        return dict(self.shapes)

    def unload(self) -> None:
        """Give the memory back, whoever still refers to the model; it answers nothing any more."""
        empty(self.model)
        if self.hold:
            self.hold.release()


def prepare(
    cache: Path, progress: Progress | None = None, *, source: str | None = None, dtype: Weights = "auto"
) -> Path:
    """Make sure that the base model stands in the cache, and return its folder."""
    return prepared(cache, resolve(cache, source), progress or Progress(), dtype)


def prepare_served(local: Local, progress: Progress | None = None) -> Path:
    """The same for the model that the settings name."""
    return prepare(local.cache_directory, progress, source=local.base_model_path, dtype=dtype_of(local))


def prepared(cache: Path, source: Source, progress: Progress, dtype: Weights, device: str | None = None) -> Path:
    """Make every form of the source that is needed and not there yet."""
    home = cache / source.name
    if _missing(home, source, dtype, device):
        with alone(cache, source.name):
            while missing := _missing(home, source, dtype, device):
                make(home, missing[0], source, device or best_device(), progress)
    return home


def load(
    cache: Path,
    device: str | None = None,
    *,
    source: str | None = None,
    dtype: Weights = "auto",
    gpu_layers: int | None = None,
    progress: Progress | None = None,
) -> BaseModel:
    """Load a base model for serving: 4 bits where the device computes them well, bf16 elsewhere, or as told."""
    device = "cpu" if gpu_layers == 0 else device or best_device()
    found, told = resolve(cache, source), progress or Progress()
    home = prepared(cache, found, told, dtype, device)
    told.begin("loading the weights")
    hold = Hold(cache, found.name)
    form = _chosen(home, dtype, device)
    made = manifest.checked(home / form)
    model = _placed(home / form, "float32" if dtype == "float32" else "bfloat16", device, gpu_layers)
    shapes = targets(model)
    if form == "nf4":
        fourbits.expect_fit(made.name, shapes, device if gpu_layers in _WHOLE else "cpu")
    return BaseModel(
        model,
        fitting(home / form, load_tokenizer(home / form), model),
        device,
        quantised=form == "nf4",
        name=made.name,
        context_tokens=made.context_tokens,
        sha256=made.sha256,
        hold=hold,
        shapes=shapes,
    )


def load_dense(cache: Path, device: str | None = None, *, source: str | None = None) -> BaseModel:
    """Load a base model in bf16, the only form that may be trained on."""
    return load(cache, device, source=source, dtype="bfloat16")


def served(local: Local, progress: Progress | None = None) -> BaseModel:
    """Load the model that the settings name, on as many threads as serve it best."""
    base = load(
        local.cache_directory,
        source=local.base_model_path,
        dtype=dtype_of(local),
        gpu_layers=local.gpu_layers,
        progress=progress,
    )
    object.__setattr__(base, "threads", settle(base.model, local.threads))
    return base


def dtype_of(local: Local) -> Weights:
    """What the settings want to be computed from."""
    return _OF_SETTING[local.weights]


def best_device() -> str:
    """A GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _placed(folder: Path, dtype: str, device: str, gpu_layers: int | None) -> Any:
    if gpu_layers is None or gpu_layers in _WHOLE:
        return load_model(folder, dtype, device)
    if device == "cpu":
        raise BaseModelError(f"local.gpu_layers is {gpu_layers}, but torch finds no GPU; unset it or set it to 0")
    model = load_model(folder, dtype, "cpu")
    return spread(model, devices(model, gpu_layers, device))


def _missing(home: Path, source: Source, dtype: Weights, device: str | None) -> list[Form]:
    """What the cache lacks; the device is asked only when it matters, because asking imports torch."""
    there = {form: made for form in FORMS if (made := manifest.read(home / form))}
    for made in there.values():
        if not source.fits(made):
            raise BaseModelError(f"{home} holds another model, from {made.origin}; fetch {source.path} with --name")
    if source.comes_packed or (source.kind == "cache" and set(there) == {"nf4"}):
        return [] if "nf4" in there else ["nf4"]
    wanted: list[Form] = ["dense"]
    if dtype == "nf4" or (dtype == "auto" and "nf4" not in there and _packs(home / "dense", device or best_device())):
        wanted.append("nf4")
    return [form for form in wanted if form not in there]


def _packs(dense: Path, device: str) -> bool:
    """Whether 4 bits are worth while; dense weights come first, because their shapes are asked."""
    return fourbits.computes_well(device) and dense.is_dir() and fourbits.fits(dense, device)


def _chosen(home: Path, dtype: Weights, device: str) -> Form:
    dense, packed = (manifest.read(home / form) is not None for form in FORMS)
    if dtype in {"bfloat16", "float32"} and not dense:
        raise BaseModelError(f"{home.name} came in 4 bits and has no {dtype} weights; fetch the unquantised model")
    if dtype == "nf4" or (dtype == "auto" and packed and (not dense or fourbits.computes_well(device))):
        return "nf4"
    return "dense"
