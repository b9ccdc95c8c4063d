"""The shelf of adapters: one folder each, checked in full before a single weight is used.

<directory>/<name>/
├── card.json                    what it is for, how it was measured, the weights' SHA-256
├── adapter_config.json          PEFT's description of its shape
└── adapter_model.safetensors    its weights; no other format is read
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchtower.errors import AdapterError
from switchtower.models import Capability, Frozen, ModelCard, Name, Provider
from workers.models import base as base_model

CARD, CONFIG, WEIGHTS = "card.json", "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
MAX_BYTES = 256 * 1024 * 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


class Score(Frozen):
    """One measurement on held-out records, beside the untuned base model's."""

    metric: str
    weights: Literal["bf16", "nf4"]
    base: float
    adapter: float
    heldout: int


class Card(Frozen):
    """What an adapter is and what it was measured to do."""

    name: Name
    version: int = Field(ge=1)
    base: Name
    capabilities: tuple[Capability, ...]
    system_prompt: str = Field(max_length=4000)
    rank: int = Field(ge=1, le=256)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    seed: int
    seconds: float = 0.0
    scores: tuple[Score, ...] = ()


class Shape(BaseModel):
    """The part of PEFT's configuration that is read; whatever else would change the arithmetic is refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    peft_type: Literal["LORA"]
    base_model_name_or_path: str
    r: int = Field(ge=1, le=256)
    lora_alpha: int = Field(gt=0)
    target_modules: tuple[str, ...] = Field(min_length=1)
    bias: Literal["none"] = "none"
    use_dora: Literal[False] = False
    use_rslora: Literal[False] = False
    fan_in_fan_out: Literal[False] = False
    modules_to_save: None = None
    rank_pattern: dict[str, int] = Field(default={}, max_length=0)
    alpha_pattern: dict[str, float] = Field(default={}, max_length=0)


@dataclass(frozen=True)
class Adapter:
    """An adapter whose bytes were checked; these bytes are what gets loaded."""

    card: Card
    shape: Shape
    weights: bytes


class AdapterShelf:
    """A directory of adapters."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The names of the folders that hold a card."""
        return sorted(card.parent.name for card in self.directory.glob(f"*/{CARD}"))

    def cards(self) -> list[ModelCard]:
        """What the router may choose from; an adapter whose card is bad is left out and logged."""
        found = []
        for name in self.names():
            try:
                found.append(_model_card(self.card(name)))
            except AdapterError as error:
                _log.warning("adapter left out: %s", error)
        return found

    def card(self, name: str) -> Card:
        """The adapter's card."""
        card = _read(self._file(name, CARD), Card)
        if card.name != name:
            raise AdapterError(f"{name}: the card belongs to {card.name!r}; rename the folder or the card")
        if card.base != base_model.NAME:
            raise AdapterError(f"{name}: made for the base model {card.base!r}; this engine runs {base_model.NAME!r}")
        return card

    def take(self, name: str, linears: Mapping[str, tuple[int, int]]) -> Adapter:
        """The adapter, after its files, its hash and every tensor's shape were checked against the base's linears."""
        card, shape = self.card(name), _read(self._file(name, CONFIG), Shape)
        if (shape.base_model_name_or_path, shape.r) != (card.base, card.rank):
            raise AdapterError(f"{name}: {CONFIG} and {CARD} disagree on the base model or the rank")
        weights = self._weights(name)
        if hashlib.sha256(weights).hexdigest() != card.sha256:
            raise AdapterError(f"{name}: the weights are not the ones on its card; train or install it again")
        _check_tensors(name, _shapes(name, weights), _expected(shape, linears))
        return Adapter(card, shape, weights)

    def _weights(self, name: str) -> bytes:
        file = self._file(name, WEIGHTS)
        if not file.is_file() and any(file.parent.glob("*.bin")):
            raise AdapterError(f"{name}: its weights are a pickle; only {WEIGHTS} is read, convert them first")
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise AdapterError(f"{name}: {WEIGHTS} is larger than {MAX_BYTES // 2**20} MiB")
        return _bytes(file)

    def _file(self, name: str, file: str) -> Path:
        check_name(name)
        if not (self.directory / name).is_dir():
            raise AdapterError(f"there is no adapter {name!r}; there are: {', '.join(self.names()) or 'none'}")
        path = self.directory / name / file
        if not path.resolve().is_relative_to(self.directory.resolve()):
            raise AdapterError(f"{name}: {file} points outside the adapters' directory")
        return path


def check_name(name: str) -> None:
    """Refuse what may not name an adapter, and so its folder."""
    if not _NAME.fullmatch(name):
        raise AdapterError(f"{name!r} is no adapter name: use up to 64 small letters, digits and hyphens")


def _model_card(card: Card) -> ModelCard:
    return ModelCard(
        name=card.name,
        provider=Provider.LOCAL,
        capabilities=frozenset(card.capabilities),
        base=card.base,
        adapter=card.name,
        context_tokens=base_model.CONTEXT_TOKENS,
        system_prompt=card.system_prompt,
    )


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise AdapterError(f"{file.parent.name}: cannot read {file.name}: {error.strerror}") from None


def _read(file: Path, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(_bytes(file))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise AdapterError(f"{file.parent.name}: {file.name}: {field}: {first['msg']}") from None


def _shapes(name: str, weights: bytes) -> dict[str, tuple[int, ...]]:
    import safetensors

    read: Any = safetensors.deserialize
    try:
        tensors: list[tuple[str, dict[str, Any]]] = read(weights)
    except safetensors.SafetensorError as error:
        raise AdapterError(f"{name}: {WEIGHTS} is not a safetensors file ({error})") from None
    return {tensor: tuple(about["shape"]) for tensor, about in tensors}


def _expected(shape: Shape, linears: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    expected: dict[str, tuple[int, ...]] = {}
    for linear, (out_features, in_features) in linears.items():
        if linear.rpartition(".")[2] in shape.target_modules:
            expected[f"{PREFIX}{linear}.lora_A.weight"] = (shape.r, in_features)
            expected[f"{PREFIX}{linear}.lora_B.weight"] = (out_features, shape.r)
    return expected


def _check_tensors(name: str, found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    if not expected:
        raise AdapterError(f"{name}: the base model has none of its target modules")
    if missing := expected.keys() - found.keys():
        raise AdapterError(f"{name}: {len(missing)} tensors are missing, the first is {min(missing)}")
    if unknown := found.keys() - expected.keys():
        raise AdapterError(f"{name}: {len(unknown)} tensors fit nowhere, the first is {min(unknown)}")
    for tensor, shape in sorted(found.items()):
        if shape != expected[tensor]:
            raise AdapterError(f"{name}: {tensor} has the shape {shape}; the base model needs {expected[tensor]}")
