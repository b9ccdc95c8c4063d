"""The local engine: one model, one request at a time, any adapter per request.

Covered: streaming, stop strings, seeds, a halt within one token, adapters swapped under a lock.
Not covered: batching; requests wait for one another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from switchtower.errors import ContextOverflow
from switchtower.models import Sampling
from workers.adapters.shelf import AdapterShelf
from workers.engine.chat import prompt_ids
from workers.engine.decoding import Transcript
from workers.models.base import BaseModel
from workers.training.switch import AdapterSwitch

POLL_SECONDS = 0.05

Message = dict[str, str]
Stop = Callable[[], str | None]


@dataclass(frozen=True)
class Generation:
    """One answer; `finish_reason` is `stop`, `length` or whatever reason the request was stopped for."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str


class Engine:
    """Answers chats with the base model or one of its adapters; safe to call from any thread."""

    def __init__(
        self, base: BaseModel, adapters: AdapterShelf, *, context_tokens: int | None = None, keep_adapters: int = 8
    ) -> None:
        self._base = base
        self._room = min(context_tokens or base.context_tokens, base.context_tokens)
        self._switch = AdapterSwitch(base, adapters, keep_adapters)
        self._lock = threading.Lock()

    def generate(
        self,
        messages: Sequence[Message],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Stop,
    ) -> Generation:
        """Answer the messages, handing out text as it is decoded, until done or until `stop` gives a reason."""
        prompt = prompt_ids(self._base.tokenizer, messages)
        self._check_fits(len(prompt))
        with self._turn(stop) as reason:
            if reason is not None:
                return Generation("", len(prompt), 0, reason)
            with self._switch.on(adapter), _seeded(sampling.seed, self._base.device):
                return self._answer(prompt, sampling, on_token, stop)

    @contextmanager
    def _turn(self, stop: Stop) -> Iterator[str | None]:
        """Wait for the model; gives the reason when the request is stopped before its turn comes."""
        while (reason := stop()) is None and not self._lock.acquire(timeout=POLL_SECONDS):
            pass
        if reason is not None:
            yield reason
            return
        try:
            yield None
        finally:
            self._lock.release()

    def _answer(self, prompt: list[int], sampling: Sampling, on_token: Callable[[str], None], stop: Stop) -> Generation:
        transcript = Transcript(self._base.tokenizer, sampling.stop, on_token)
        halt = _Halt(transcript, stop)
        if not halt():
            self._run(prompt, sampling, transcript, halt)
        ended = transcript.stopped or transcript.last == self._base.tokenizer.eos_token_id
        if halt.reason is None:
            transcript.finish()
        reason = halt.reason or ("stop" if ended or transcript.stopped else "length")
        return Generation(transcript.text, len(prompt), transcript.tokens, reason)

    def _run(self, prompt: list[int], sampling: Sampling, transcript: Transcript, halt: _Halt) -> None:
        import torch
        from transformers import StoppingCriteriaList

        ids = torch.tensor([prompt], device=self._base.device)
        self._base.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=min(sampling.max_tokens, self._room - len(prompt)),
            streamer=transcript,
            stopping_criteria=StoppingCriteriaList([halt]),
            **_drawing(sampling),
        )

    def _check_fits(self, length: int) -> None:
        if length >= self._room:
            raise ContextOverflow(f"the prompt has {length} tokens, the model takes {self._room - 1}; shorten it")


class _Halt:
    """Asked after every token whether to go on; shaped as one of `generate`'s stopping criteria."""

    def __init__(self, transcript: Transcript, stop: Stop) -> None:
        self._transcript = transcript
        self._stop = stop
        self.reason: str | None = None

    def __call__(self, input_ids: Any = None, scores: Any = None, **_: Any) -> Any:
        if not self._transcript.stopped:
            self.reason = self._stop()
        done = self._transcript.stopped or self.reason is not None
        return done if input_ids is None else input_ids.new_full((len(input_ids),), done, dtype=_bool())


def _bool() -> Any:
    import torch

    return torch.bool


def _drawing(sampling: Sampling) -> dict[str, Any]:
    if sampling.temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}


@contextmanager
def _seeded(seed: int | None, device: str) -> Iterator[None]:
    """Draw from this seed inside the block and leave the process's own generator as it was."""
    if seed is None:
        yield
        return
    import torch

    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
