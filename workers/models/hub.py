"""Takes a model from a hub that speaks Hugging Face's protocol; only where somebody asks for the network.

Safetensors, tokenizer and configuration, or one GGUF file; never code and never pickles. What the hub says of its
large files is checked against what came. `HF_ENDPOINT` names another hub than huggingface.co, `HF_TOKEN` who asks.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from switchtower.errors import BaseModelError
from workers.models import manifest
from workers.models.packing import expect_room
from workers.models.progress import Progress
from workers.models.source import BESIDE, INDEX, weights_of
from workers.quiet import no_kernels


class Found(NamedTuple):
    """What came, and from where."""

    path: Path
    origin: str


_WANTED = (*BESIDE, INDEX, "model*.safetensors")


@contextmanager
def downloaded(cache: Path, repository: str, revision: str | None, file: str | None, told: Progress) -> Iterator[Found]:
    """A folder, or a GGUF file, with the model; it is gone after the block, and after Ctrl-C."""
    target = cache / f".{repository.replace('/', '--')}.download"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        about = _about(repository, revision)
        _fetch(repository, about, target, file, told)
        told.begin("comparing with the hub's hashes")
        found = target / file if file else target
        _compare(repository, about, [found] if file else weights_of(found), told)
        yield Found(found, f"{repository}@{about.sha}")
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _about(repository: str, revision: str | None) -> Any:
    no_kernels()
    from huggingface_hub import HfApi

    with _named(repository, revision):
        return HfApi().model_info(repository, revision=revision, files_metadata=True)


def _fetch(repository: str, about: Any, target: Path, file: str | None, told: Progress) -> None:
    """One file after the other, in this thread, so that Ctrl-C ends it at once."""
    from huggingface_hub import hf_hub_download

    names = {one.rfilename for one in about.siblings if _wanted(one.rfilename, file)}
    if not any(name.endswith((".safetensors", ".gguf")) for name in names):
        raise BaseModelError(f"{repository} has no {_offered(about)}")
    expect_room(target, sum(one.size or 0 for one in about.siblings if one.rfilename in names))
    place: dict[str, Any] = {"revision": about.sha, "local_dir": target, "tqdm_class": _bar(told)}
    for name in sorted(names):
        told.begin(f"downloading {name}")
        with _named(repository, about.sha):
            hf_hub_download(repository, name, **place)
    shutil.rmtree(target / ".cache", ignore_errors=True)


def _wanted(name: str, file: str | None) -> bool:
    """Nothing in a hub's answer may lead out of the folder."""
    if file:
        return name == file and ".." not in PurePosixPath(name).parts
    return "/" not in name and any(fnmatch(name, pattern) for pattern in _WANTED)


def _bar(told: Progress) -> type[Any]:
    from tqdm import tqdm

    class Told(tqdm):  # type: ignore[misc]
        """The library's bar, drawn by us."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, *_: Any, **__: Any) -> bool:
            told.advance(int(self.n), int(self.total or self.n))
            return True

    return Told


def _offered(about: Any) -> str:
    packed = sorted(one.rfilename for one in about.siblings if one.rfilename.endswith(".gguf"))
    return f"safetensors; choose with --file one of {', '.join(packed)}" if packed else "weights that are safe to read"


def _compare(repository: str, about: Any, weights: list[Path], told: Progress) -> None:
    expected = {one.rfilename: one.lfs.sha256 for one in about.siblings if one.lfs}
    for name, stamp in manifest.stamped(weights, told).items():
        if expected.get(name, stamp.sha256) != stamp.sha256:
            raise BaseModelError(f"{repository}: {name} is not what the hub says it is; fetch it again")


@contextmanager
def _named(repository: str, revision: str | None) -> Iterator[None]:
    """The library's errors in our words."""
    import httpx2
    from huggingface_hub import errors

    at = f"{repository} at {revision}" if revision else repository
    try:
        yield
    except errors.GatedRepoError:
        raise BaseModelError(f"{at} asks for consent; give it on the hub's page, then set HF_TOKEN") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise BaseModelError(f"the hub has no {at}; is it spelt right, or private (then set HF_TOKEN)?") from None
    except errors.OfflineModeIsEnabled:
        raise BaseModelError("HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it and try again") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        why = f"{type(error).__name__}"
        raise BaseModelError(
            f"{at} did not come ({why}): is there a network? Elsewhere, `hf download {repository} --local-dir FOLDER`, "
            f"bring the folder here, and `switchtower models fetch FOLDER`"
        ) from None
