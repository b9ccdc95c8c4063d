"""What a form of a base model is made of: every file's hash, written when it was made, looked at before each load.

Size and time of change are compared on each load, which costs nothing; a file whose time alone differs, as after a
copy, is hashed again. `verify` hashes everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from switchtower.errors import BaseModelError
from switchtower.models import Frozen, Name
from workers.models.progress import Progress

FILE = "manifest.json"
Form = Literal["dense", "nf4"]

_CHUNK = 8 * 1024 * 1024


class Stamp(Frozen):
    """One file as it was."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    mtime_ns: int

    def untouched(self, file: Path) -> bool:
        """Whether size and time of change are still the same."""
        now = file.stat()
        return (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)


class Manifest(Frozen):
    """One form of a base model in the cache."""

    version: Literal[1] = 1
    name: Name
    form: Form
    context_tokens: int = Field(gt=0)
    origin: str
    source: dict[str, Stamp]
    files: dict[str, Stamp]

    @property
    def sha256(self) -> str:
        """The model's identity: the hash of the weights that it came from, the same in every form."""
        return digest(self.source)

    @property
    def size(self) -> int:
        """How many bytes its files take."""
        return sum(stamp.size for stamp in self.files.values())


def digest(stamps: Mapping[str, Stamp]) -> str:
    """The hash of one file as it is; several are hashed as the list that `sha256sum` prints."""
    if len(stamps) == 1:
        return next(iter(stamps.values())).sha256
    listed = "".join(f"{stamps[name].sha256}  {name}\n" for name in sorted(stamps))
    return hashlib.sha256(listed.encode()).hexdigest()


def stamped(files: Iterable[Path], progress: Progress) -> dict[str, Stamp]:
    """Hash files, by their names."""
    found = sorted(files)
    total, done, stamps = sum(file.stat().st_size for file in found), 0, {}
    for file in found:
        about, hashed = file.stat(), hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                hashed.update(chunk)
                done += len(chunk)
                progress.advance(done, total)
        stamps[file.name] = Stamp(sha256=hashed.hexdigest(), size=about.st_size, mtime_ns=about.st_mtime_ns)
    return stamps


def write(folder: Path, manifest: Manifest) -> None:
    """Put the manifest beside the files that it lists."""
    (folder / FILE).write_text(manifest.model_dump_json(indent=1))


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; none where there is none that this release reads."""
    try:
        return Manifest.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def checked(folder: Path) -> Manifest:
    """The manifest of a folder whose files are still the listed ones."""
    manifest = _listed(folder)
    touched = [folder / name for name, stamp in manifest.files.items() if not stamp.untouched(folder / name)]
    if not touched:
        return manifest
    return _restamped(folder, manifest, stamped(touched, Progress()))


def verify(folder: Path, progress: Progress) -> Manifest:
    """The same after every byte was hashed again."""
    manifest = _listed(folder)
    stamps = stamped((folder / name for name in manifest.files), progress)
    _compare(folder, manifest, stamps)
    return manifest


def _listed(folder: Path) -> Manifest:
    manifest = read(folder)
    if manifest is None:
        raise _spoilt(folder, f"has no {FILE}")
    present = {file.name for file in folder.iterdir()} - {FILE}
    if missing := manifest.files.keys() - present:
        raise _spoilt(folder, f"lacks {min(missing)}")
    if strange := present - manifest.files.keys():
        raise _spoilt(folder, f"holds {min(strange)}, which nobody put there when it was made")
    return manifest


def _restamped(folder: Path, manifest: Manifest, stamps: dict[str, Stamp]) -> Manifest:
    _compare(folder, manifest, stamps)
    renewed = manifest.model_copy(update={"files": manifest.files | stamps})
    with suppress(OSError):  # a cache may be read-only; the hash is then made at each load
        write(folder, renewed)
    return renewed


def _compare(folder: Path, manifest: Manifest, stamps: Mapping[str, Stamp]) -> None:
    for name, stamp in stamps.items():
        if stamp.sha256 != manifest.files[name].sha256:
            raise _spoilt(folder, f"holds a changed {name}")


def _spoilt(folder: Path, how: str) -> BaseModelError:
    name = folder.parent.name
    return BaseModelError(f"{folder} {how}; remove it with `switchtower models rm {name}` and fetch it again")
