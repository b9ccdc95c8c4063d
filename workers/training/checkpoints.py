"""Where a training stands, on disk, so that a killed one goes on there.

<adapter>/.training/checkpoint.safetensors    weights, optimizer, random state; the step and what it belongs to

Only tensors and strings are stored: nothing in there can run when it is read.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple

from workers.training.recipes import Job

FOLDER, FILE = ".training", "checkpoint.safetensors"
EVERY = 20
"""Steps between two checkpoints."""

_RANDOM = "random"


class Point(NamedTuple):
    """How far a training got, and the optimizer's state there."""

    step: int
    seconds: float
    state: dict[str, Any]


class Checkpoints:
    """The one checkpoint of a training; one of other data, another recipe or other libraries is not taken up."""

    def __init__(self, job: Job) -> None:
        self._folder = job.folder / FOLDER
        self._belongs = _fingerprint(job)

    def save(self, point: Point) -> None:
        """Replace the checkpoint, whole or not at all."""
        import torch
        from safetensors.torch import save_file

        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f"{FILE}.partial"
        tensors = {name: tensor.contiguous() for name, tensor in point.state.items()} | {_RANDOM: torch.get_rng_state()}
        about = {"step": str(point.step), "seconds": f"{point.seconds:.1f}", "belongs": self._belongs}
        save_file(tensors, partial, metadata=about)
        os.replace(partial, self._folder / FILE)

    def load(self) -> Point | None:
        """The checkpoint, if there is one that belongs to this training; the random state is set to it."""
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._folder / FILE, "pt") as file:
                about = file.metadata() or {}
                if about.get("belongs") != self._belongs:
                    return None
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return None
        torch.set_rng_state(state.pop(_RANDOM))
        return Point(int(about["step"]), float(about["seconds"]), state)

    def forget(self) -> None:
        """The training is over."""
        (self._folder / FILE).unlink(missing_ok=True)


def _fingerprint(job: Job) -> str:
    """What a training depends on: recipe, data, and the libraries that do the arithmetic."""
    import torch
    import transformers

    told = job.model_dump_json(exclude={"folder", "heldout"}) + f" {torch.__version__} {transformers.__version__}"
    return hashlib.sha256(told.encode()).hexdigest()
