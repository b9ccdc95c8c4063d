"""The shelf of adapters: one folder each, checked in full before a single weight is used.

<directory>/<name>/
├── card.json                    what it is for, how it was measured, the weights' SHA-256
├── adapter_config.json          PEFT's description of its shape
└── adapter_model.safetensors    its weights; no other format is read
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from switchtower.errors import AdapterCorrupt, AdapterError, AdapterForeign, AdapterNotFound, AdapterUnsupported
from switchtower.models import Capability, Frozen, ModelCard, Name, Provider, Score
from workers.adapters.deployments import Deployments
from workers.adapters.folder import Folder
from workers.adapters.tensors import Linears, check, parse
from workers.models import base as base_model

CARD, CONFIG, WEIGHTS = "card.json", "adapter_config.json", "adapter_model.safetensors"
MAX_BYTES = 256 * 1024 * 1024
MAX_RANK = 512

_TEXT_BYTES = 1024 * 1024
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_YOUNG_NS = 100_000_000
"""A file system may give two changes within this time the same moment."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_SHA256 = r"^[0-9a-f]{64}$"
_log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)


class Card(Frozen):
    """What an adapter is and what it was measured to do."""

    name: Name
    version: int = Field(ge=1)
    base: Name
    base_sha256: str | None = Field(default=None, pattern=_SHA256, description="of the base's weights, if it matters")
    capabilities: tuple[Capability, ...]
    system_prompt: str = Field(max_length=4000)
    rank: int = Field(ge=1, le=MAX_RANK)
    sha256: str = Field(pattern=_SHA256)
    seed: int
    seconds: float = 0.0
    scores: tuple[Score, ...] = ()
    controls: dict[str, float] = Field(default={})


class Shape(BaseModel):
    """The part of PEFT's configuration that is read; whatever else would change the arithmetic is refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    peft_type: Literal["LORA"]
    base_model_name_or_path: str
    r: int = Field(ge=1, le=MAX_RANK)
    lora_alpha: int = Field(gt=0)
    target_modules: tuple[str, ...] = Field(min_length=1)
    bias: Literal["none"] = "none"
    use_dora: Literal[False] = False
    use_rslora: Literal[False] = False
    fan_in_fan_out: Literal[False] = False
    modules_to_save: None = None
    rank_pattern: dict[str, int] = Field(default={}, max_length=0)
    alpha_pattern: dict[str, float] = Field(default={}, max_length=0)


class _Strange(BaseModel):
    """What PEFT can do besides, and the engine not; each must be off."""

    model_config = ConfigDict(extra="ignore")

    init_lora_weights: bool | Literal["gaussian", "orthogonal", "eva"] = True  # the others change the base as well
    layer_replication: None = None
    trainable_token_indices: None = None
    target_parameters: None = None
    alora_invocation_tokens: None = None
    lora_bias: Literal[False] = False
    use_qalora: Literal[False] = False
    use_bdlora: Literal[False] | None = None
    arrow_config: None = None
    kasa_config: None = None
    monteclora_config: None = None
    velora_config: None = None


@dataclass(frozen=True)
class Adapter:
    """An adapter whose bytes were checked; these bytes are what gets loaded."""

    card: Card
    shape: Shape
    weights: bytes


@dataclass(frozen=True)
class Registered:
    """What the shelf knows of an adapter without reading its weights."""

    card: Card
    targets: tuple[str, ...]
    scaling: float
    nbytes: int

    @property
    def full_version(self) -> str:
        """The name of this very version."""
        return version_of(self.card)


Stamp = tuple[int | None, ...]
"""The state of an adapter's files: equal stamps mean unchanged files."""


class AdapterShelf:
    """A directory of adapters for one base model; with the base's hash, cards that carry another one are refused."""

    def __init__(
        self,
        directory: Path,
        base: str = base_model.NAME,
        base_sha256: str | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.directory = directory
        self._root = str(directory)
        self._base = base
        self._base_sha256 = base_sha256
        self._max_bytes = max_bytes
        self._deployments = Deployments(directory)

    def names(self) -> list[str]:
        """The names of the folders that hold a card."""
        return sorted(card.parent.name for card in self.directory.glob(f"*/{CARD}"))

    def cards(self) -> list[ModelCard]:
        """What the router may choose from, as it is deployed now; an adapter with a bad card is left out and logged."""
        found = []
        for name in self.names():
            try:
                found.append(_model_card(self.card(name)))
            except AdapterError as error:
                _log.warning("adapter left out: %s", error)
        return self._deployments.offered(found)

    def card(self, name: str) -> Card:
        """The adapter's card."""
        with self._folder(name) as folder:
            return self._card(folder)

    def registered(self, name: str) -> Registered:
        """The adapter's entry in the registry, from its card and its configuration."""
        with self._folder(name) as folder:
            card, shape = self._card(folder), self._shape(folder)
            _agree(card, shape)
            return Registered(card, shape.target_modules, shape.lora_alpha / shape.r, folder.size(WEIGHTS))

    def take(self, name: str, linears: Linears) -> Adapter:
        """The adapter, after its files, its hash and every tensor were checked against the base's linears."""
        with self._folder(name) as folder:
            card, shape = self._card(folder), self._shape(folder)
            _agree(card, shape)
            weights = self._weights(folder)
        if hashlib.sha256(weights).hexdigest() != card.sha256:
            raise AdapterCorrupt(f"{name}: the weights are not the ones on its card; train or install it again")
        check(name, parse(name, weights), shape.r, shape.target_modules, linears)
        return Adapter(card, shape, weights)

    def stamp(self, name: str) -> Stamp:
        """The state of the adapter's files, without opening one; of files that have just changed no two are equal."""
        check_name(name)
        parts: list[int | None] = []
        youngest = 0
        for file in (CARD, CONFIG, WEIGHTS):
            try:
                found = os.lstat(f"{self._root}/{name}/{file}")  # a Path would take as long as the call
            except OSError:
                parts.append(None)
            else:
                parts += found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
                youngest = max(youngest, found.st_ctime_ns)
        now = time.time_ns()
        return (*parts, now) if now - youngest < _YOUNG_NS else tuple(parts)

    def _folder(self, name: str) -> Folder:
        check_name(name)
        try:
            return Folder(self.directory, name)
        except AdapterNotFound:
            there = ", ".join(self.names()) or "none"
            raise AdapterNotFound(f"there is no adapter {name!r}; there are: {there}") from None

    def _card(self, folder: Folder) -> Card:
        card, name = _read(folder, CARD, Card), folder.name
        if card.name != name:
            raise AdapterCorrupt(f"{name}: the card belongs to {card.name!r}; rename the folder or the card")
        if card.base != self._base:
            raise AdapterForeign(f"{name}: made for the base model {card.base!r}; this engine runs {self._base!r}")
        if self._base_sha256 and card.base_sha256 not in (None, self._base_sha256):
            raise AdapterForeign(f"{name}: made for other weights of {self._base!r} than this engine runs; retrain it")
        return card

    def _shape(self, folder: Folder) -> Shape:
        _read(folder, CONFIG, _Strange)
        return _read(folder, CONFIG, Shape)

    def _weights(self, folder: Folder) -> bytes:
        if WEIGHTS not in (names := folder.names()) and any(name.endswith(_PICKLES) for name in names):
            raise AdapterUnsupported(f"{folder.name}: its weights are a pickle; only {WEIGHTS} is read, convert them")
        return folder.read(WEIGHTS, self._max_bytes)


def check_name(name: str) -> None:
    """Refuse what may not name an adapter, and so its folder."""
    if not _NAME.fullmatch(name):
        raise AdapterNotFound(f"{name!r} is no adapter name: use up to 64 small letters, digits and hyphens")


def version_of(card: Card) -> str:
    """The name of this very version of an adapter."""
    return f"{card.name}-{card.sha256[:12]}"


def _agree(card: Card, shape: Shape) -> None:
    if (shape.base_model_name_or_path, shape.r) != (card.base, card.rank):
        raise AdapterCorrupt(f"{card.name}: {CONFIG} and {CARD} disagree on the base model or the rank")


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


def _read(folder: Folder, file: str, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(folder.read(file, _TEXT_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        known = file == CONFIG and first["type"] not in {"json_invalid", "missing"}
        kind = AdapterUnsupported if known else AdapterCorrupt
        raise kind(f"{folder.name}: {file}: {field}: {first['msg']}") from None
