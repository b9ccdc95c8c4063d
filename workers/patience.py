"""Jobs wait a while for a model that is known to be away, so that the others stay in the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from switchtower.errors import ModelUnavailable
from switchtower.models import OutputFormat, Sampling
from workers.providers.base import Answering, Generation

POLL_S = 0.05


class PatientEngine:
    """Asks a model while it is `up`; otherwise holds the job for a while and hands it back."""

    def __init__(self, model: Answering, patience_s: float) -> None:
        self.up = threading.Event()
        self._model = model
        self._patience_s = patience_s

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """Answer the messages, or raise `ModelUnavailable`."""
        end = time.monotonic() + self._patience_s
        while not self.up.wait(POLL_S):
            if (reason := stop()) is not None:
                return Generation("", 0, 0, reason)
            if time.monotonic() > end:
                raise ModelUnavailable
        return self._model.generate(messages, adapter, sampling, on_token, stop, output)
