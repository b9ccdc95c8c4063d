"""What a setting or a command names as a base model: the built-in one, one in the cache, a GGUF file, a folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from switchtower.errors import BaseModelError
from workers.models import builtin, manifest
from workers.models.manifest import Manifest
from workers.models.progress import Progress

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
BESIDE: tuple[str, ...] = (CONFIG, "generation_config.json", "tokenizer*", "chat_template*", "special_tokens_map.json")
BESIDE += ("added_tokens.json", "vocab.*", "merges.txt", "spiece.model")
"""What is taken from a folder with its weights; code, pickles and adapters are left behind."""
FORMS: tuple[manifest.Form, ...] = ("dense", "nf4")

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Source:
    """Where a base model comes from, and the name that it has in the cache."""

    name: str
    kind: Literal["wheel", "cache", "gguf", "folder"]
    path: Path
    origin: str

    @property
    def comes_packed(self) -> bool:
        """Whether a folder holds 4-bit weights already."""
        return self.kind == "folder" and bool(read_json(self.path / CONFIG).get("quantization_config"))

    def weights(self) -> list[Path]:
        """The files that its weights are in."""
        return weights_of(self.path) if self.kind == "folder" else [self.path]

    def fits(self, made: Manifest) -> bool:
        """Whether the cache holds this very model; it is hashed only where a file was touched since."""
        if self.kind in {"wheel", "cache"}:
            return True
        files = {file.name: file for file in self.weights()}
        if files.keys() == made.source.keys() and all(stamp.untouched(files[n]) for n, stamp in made.source.items()):
            return True
        return manifest.digest(manifest.stamped(files.values(), Progress())) == made.sha256


def resolve(cache: Path, wanted: str | None, name: str | None = None) -> Source:
    """Find what is meant; a bare word that names a model in the cache wins over a path."""
    wanted = builtin.NAME if wanted is None else wanted
    if wanted == builtin.NAME and not manifest.read(cache / wanted / "dense"):
        return Source(wanted, "wheel", builtin.gguf(), builtin.WHEEL)
    if _NAME.fullmatch(wanted) and any(manifest.read(cache / wanted / form) for form in FORMS):
        return Source(wanted, "cache", cache / wanted, wanted)
    path = Path(wanted).expanduser().absolute()
    if path.is_file():
        return Source(name_for(name or path.stem), "gguf", _gguf(path), str(path))
    if path.is_dir():
        return Source(name_for(name or path.name), "folder", path, str(path))
    raise BaseModelError(_nowhere(cache, wanted))


def name_for(words: str) -> str:
    """A name for the cache made of the words; the built-in model's own is not given away."""
    made = re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip(".-")[:64]
    if not made:
        raise BaseModelError(f"{words!r} makes no name: give one of small letters, digits, dots and hyphens")
    if made == builtin.NAME:
        raise BaseModelError(f"{made} is the built-in model's name; fetch the other one with --name")
    return made


def in_cache(name: str) -> str:
    """The name, where it can be one."""
    if not _NAME.fullmatch(name):
        raise BaseModelError(f"{name!r} is no model's name; `switchtower models list` shows them")
    return name


def is_hub_id(wanted: str) -> bool:
    """Whether it reads like `organisation/model` and is nothing on this disk."""
    return bool(_HUB.fullmatch(wanted)) and not Path(wanted).exists()


def weights_of(folder: Path) -> list[Path]:
    """A folder's weights: those of its index, or the one file; pickles run code when they are read and are refused."""
    if (folder / INDEX).is_file():
        return _sharded(folder)
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if any(found for pattern in _PICKLES for found in folder.glob(pattern)):
        raise BaseModelError(f"{folder}: its weights are pickles, which run code when read; convert to {WEIGHTS} first")
    raise BaseModelError(f"{folder}: there is neither {WEIGHTS} nor {INDEX}; is this the model's folder?")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a model's folder."""
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise BaseModelError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BaseModelError(f"{file} is not JSON ({error}); fetch it again") from None
    if not isinstance(found, dict):
        raise BaseModelError(f"{file} is not a JSON object; fetch it again")
    return found


def _sharded(folder: Path) -> list[Path]:
    shards = read_json(folder / INDEX).get("weight_map")
    names = set(shards.values()) if isinstance(shards, dict) else set()
    if not names:
        raise BaseModelError(f"{folder / INDEX} lists no weights; fetch it again")
    for shard in sorted(names, key=str):
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise BaseModelError(f"{folder / INDEX} lists {shard!r}, which is no safetensors file of this folder")
        if not (folder / shard).is_file():
            raise BaseModelError(f"{folder}: {shard} is missing; fetch it again")
    return [folder / shard for shard in sorted(names)]


def _gguf(file: Path) -> Path:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise BaseModelError(f"{file} is no GGUF file; give a .gguf file or a folder with {WEIGHTS}")
    return file


def _nowhere(cache: Path, wanted: str) -> str:
    there = sorted({found.parent.parent.name for found in cache.glob(f"*/*/{manifest.FILE}")} | {builtin.NAME})
    if is_hub_id(wanted):
        return f"{wanted} is not on this disk; get it with `switchtower models fetch {wanted} --online`"
    return f"there is no base model {wanted!r}; give a folder, a .gguf file, or one of {', '.join(there)}"
