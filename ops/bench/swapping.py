"""The baseline: one request at a time behind a lock, PEFT switches adapters in between, transformers generates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from switchtower.models import OutputFormat, Sampling
from workers.adapters.shelf import AdapterShelf, version_of
from workers.engine.chat import prompt_ids
from workers.engine.decoding import Transcript
from workers.models.base import BaseModel
from workers.providers.base import Generation
from workers.training.switch import put_on


class SwappingEngine:
    """Answers as our engine does, with what anybody would write first."""

    def __init__(self, base: BaseModel, shelf: AdapterShelf, keep: int) -> None:
        self._base = base
        self._adapters = _Adapters(base, shelf, keep)
        self._lock = threading.Lock()

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """One greedy answer, to its end and in no format."""
        import torch

        transcript = Transcript(self._base.tokenizer, sampling.stop, on_token)
        prompt = prompt_ids(self._base.tokenizer, messages)
        ids = torch.tensor([prompt], device=self._base.device)
        with self._lock, self._adapters.on(adapter), torch.inference_mode():
            self._base.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                streamer=_Streamer(transcript),
            )
        transcript.finish()
        return Generation(transcript.text, len(prompt), transcript.tokens, "stop")

    def close(self) -> None:
        """Nothing runs between two requests."""


class _Streamer:
    """What `generate` tells of its tokens; the first call brings the prompt."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        if self._prompt_seen:
            self._transcript.put(int(value))
        self._prompt_seen = True

    def end(self) -> None:
        pass


class _Adapters:
    """PEFT's adapters on the model, the least recently used ones taken off again."""

    def __init__(self, base: BaseModel, shelf: AdapterShelf, keep: int) -> None:
        self._base, self._shelf, self._keep = base, shelf, keep
        self._linears = base.linears()
        self._worn: dict[str, str] = {}
        self._peft: Any = None

    @contextmanager
    def on(self, name: str | None) -> Iterator[None]:
        if name is not None:
            self._wear(name)
            yield
        elif self._peft is None:
            yield
        else:
            with self._peft.disable_adapter():
                yield

    def _wear(self, name: str) -> None:
        version = self._worn.pop(name, None)
        if version is None:
            adapter = self._shelf.take(name, self._linears)
            version = version_of(adapter.card)
            self._peft = put_on(self._base, self._peft, adapter)
        self._worn[name] = version
        self._peft.set_adapter(version)
        while len(self._worn) > self._keep:
            oldest = next(iter(self._worn))
            self._peft.delete_adapter(self._worn.pop(oldest))
