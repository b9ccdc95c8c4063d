"""Makes the forms of a base model in the cache: whole or not at all.

    <cache>/<name>/
    ├── dense/    safetensors as they came, or unpacked to bf16 from GGUF; for training and for CPUs without avx512_bf16
    └── nf4/      the same weights in 4 bits, for serving on CUDA and on CPUs with avx512_bf16

A folder's files are linked where the disk allows it, so that a large model does not lie there twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from switchtower.errors import BaseModelError
from workers.models import manifest
from workers.models.checks import check_folder
from workers.models.loading import context_of, load_tokenizer
from workers.models.manifest import Form, Manifest, Stamp
from workers.models.packing import expect_room, quantise, unpack
from workers.models.progress import Progress
from workers.models.source import BESIDE, INDEX, Source, weights_of


def make(home: Path, form: Form, source: Source, device: str, progress: Progress) -> None:
    """Make one form; a model that is already there in another form is its own source."""
    partial = home / f".{form}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        origin, stamps = _fill(home, partial, form, source, device, progress)
        _finish(partial, origin, stamps, form, source.name, progress)
        shutil.rmtree(home / form, ignore_errors=True)
        partial.rename(home / form)
    except OSError as error:
        raise BaseModelError(f"{home}: {error.strerror or error}; is the disk full or not yours?") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            home.rmdir()  # where nothing came of it


def _fill(
    home: Path, partial: Path, form: Form, source: Source, device: str, progress: Progress
) -> tuple[str, dict[str, Stamp]]:
    dense = manifest.checked(home / "dense") if manifest.read(home / "dense") else None
    if form == "nf4" and dense:
        quantise(home / "dense", partial, device, progress)
        return dense.origin, dense.source
    if source.kind == "cache":
        raise BaseModelError(f"{source.name} stands in the cache without its {form} weights; fetch it again")
    if source.kind == "folder":
        _take(source.path, partial, progress)
    else:
        unpack(source.path, partial, source.name, progress)
    progress.begin("hashing what it came from")
    return source.origin, manifest.stamped(source.weights(), progress)


def _finish(partial: Path, origin: str, stamps: dict[str, Stamp], form: Form, name: str, progress: Progress) -> None:
    for file in partial.iterdir():
        if file.stat().st_nlink == 1:
            file.chmod(0o644)  # safetensors writes for its own user only; a cache may be made by another one
    progress.begin(f"hashing the {form} weights")
    files = manifest.stamped(partial.iterdir(), progress)
    made = Manifest(name=name, form=form, context_tokens=context_of(partial), origin=origin, source=stamps, files=files)
    manifest.write(partial, made)


def _take(folder: Path, target: Path, progress: Progress) -> None:
    progress.begin("checking the folder")
    check_folder(folder)
    load_tokenizer(folder)
    weights = weights_of(folder)
    beside = {file for pattern in (*BESIDE, INDEX) for file in folder.glob(pattern) if file.is_file()}
    progress.begin("taking its files")
    _place([*weights, *sorted(beside)], target, progress)


def _place(files: Iterable[Path], target: Path, progress: Progress) -> None:
    """Link the files, or copy them to another disk."""
    found = [file.resolve() for file in files]
    names = [file.name for file in files]
    total, done = sum(file.stat().st_size for file in found), 0
    for file, name in zip(found, names, strict=True):
        try:
            os.link(file, target / name)
        except OSError:
            expect_room(target, file.stat().st_size)
            shutil.copy2(file, target / name)
        done += file.stat().st_size
        progress.advance(done, total)
