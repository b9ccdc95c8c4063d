"""A server that speaks OpenAI's protocol and has an adapter behind each model name: vLLM and its like.

Covered: streaming, cancelling at any moment, errors by name, the server's list of models, one token as a health check.
Not covered: tools, images, several answers to one prompt.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import AsyncOpenAI, Omit

from switchtower.errors import AdapterNotFound, JobFailed, ModelUnavailable, WorkerStopping
from switchtower.models import Labels, OutputFormat, Sampling
from workers.providers.background import Background
from workers.providers.base import Generation
from workers.providers.errors import BROKEN, named, unknown
from workers.providers.formats import fields, in_format

POLL_S = 0.05
CONNECT_S = 5.0
LIST_S = 5.0
KEEPALIVE_S = 3.0
"""Shorter than the five seconds after which these servers hang up on an idle connection."""

ENDS = frozenset({"stop", "length"})
ABORTED = frozenset({"abort", "error"})

Message = dict[str, str]
Stop = Callable[[], str | None]

_CONTROL = re.compile(r"<(?=\|[^|<>\s]{1,40}\|>|(?:start|end)_of_turn>|/?s>|[be]os>)")


class OpenAICompatible:
    """Asks one server; safe to call from any thread, and closed by `close`."""

    def __init__(self, url: str, model: str, *, key: str | None = None, timeout_s: float = 120) -> None:
        self.model = model
        self._url = url
        self._key = key or "none"
        self._timeout_s = timeout_s
        self._background = Background("openai-compatible")
        self._clients: dict[int, AsyncOpenAI] = {}

    def generate(
        self,
        messages: Sequence[Message],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Stop,
        output: OutputFormat | None = None,
    ) -> Generation:
        """Answer the messages, handing out text as it arrives, until done or until `stop` gives a reason.

        One of closed labels is handed out by nobody: it is an answer once it is whole.
        """
        if (reason := stop()) is not None:
            return Generation("", 0, 0, reason)
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        model = adapter or self.model
        request = _request(model, messages, sampling) | fields(output)
        reading = self._background.start(self._read(request, arrived.put))
        reading.add_done_callback(arrived.put)
        answer = _Answer(_nobody if isinstance(output, Labels) else on_token, output)
        try:
            while (reason := stop()) is None:
                chunk = _next(arrived)
                if chunk is reading:
                    self._settle(reading, model)
                    return answer.finished()
                if chunk is not None:
                    answer.take(chunk)
            return answer.ended(reason)
        finally:
            reading.cancel()  # closes the connection, by which the server learns that nobody listens

    def models(self) -> dict[str, int | None]:
        """The models that the server has, each with its context where the server tells; raises a named error."""
        try:
            return self._background.run(self._list())
        except BROKEN as error:
            raise named(error, "/v1/models") from None

    def health_check(self) -> None:
        """Let the base model say one token; raises the named error of whatever stands in the way."""
        known = self.models()
        if self.model not in known:
            raise unknown(self.model, known)
        hello = [{"role": "user", "content": "hello"}]
        self.generate(hello, None, Sampling(max_tokens=1), _nobody, lambda: None)

    def close(self) -> None:
        """Hang up; what still runs is cut off."""
        client = self._clients.pop(os.getpid(), None)
        if client:
            self._background.run(client.close())
        self._background.close()

    def _settle(self, reading: Future[None], model: str) -> None:
        """Raise the named error of what the reading ended in, if it did."""
        try:
            reading.result()
        except CancelledError:
            raise WorkerStopping("the connection to the model's server was closed") from None
        except BROKEN as error:
            found = named(error, model)
            raise unknown(model, self.models()) if isinstance(found, AdapterNotFound) else found from None

    # -- in the loop's thread -------------------------------------------------------------------

    async def _read(self, request: dict[str, Any], put: Callable[[Any], None]) -> None:
        async with await self._client().chat.completions.create(**request) as stream:
            async for chunk in stream:
                put(chunk)

    async def _list(self) -> dict[str, int | None]:
        page = await self._client().models.list(timeout=LIST_S)
        return {one.id: getattr(one, "max_model_len", None) for one in page.data}

    def _client(self) -> AsyncOpenAI:
        if os.getpid() not in self._clients:
            self._clients[os.getpid()] = _make_client(self._url, self._key, self._timeout_s)
        return self._clients[os.getpid()]


@dataclass
class _Answer:
    """One answer as it arrives."""

    on_token: Callable[[str], None]
    output: OutputFormat | None
    pieces: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: Any = None

    def take(self, chunk: Any) -> None:
        self.usage = getattr(chunk, "usage", None) or self.usage
        for choice in (getattr(chunk, "choices", None) or [])[:1]:
            self.finish = choice.finish_reason or self.finish
            if choice.delta and choice.delta.content:
                self.pieces.append(choice.delta.content)
                self.on_token(choice.delta.content)

    def finished(self) -> Generation:
        """The whole answer; a stream that ends without saying why is none."""
        if self.finish is None or self.finish in ABORTED:
            raise ModelUnavailable("the model's server broke off before the answer was finished", begun=True)
        if self.finish not in ENDS:
            raise JobFailed(f"the model's server ended the answer for a reason that is no end: {self.finish[:40]!r}")
        return self.ended(self.finish, in_format("".join(self.pieces), self.finish, self.output))

    def ended(self, reason: str, text: str | None = None) -> Generation:
        """What there is of the answer; where the server has not counted, each piece is a token."""
        prompt, completion = (self.usage.prompt_tokens, self.usage.completion_tokens) if self.usage else (0, 0)
        said = "".join(self.pieces) if text is None else text
        return Generation(said, prompt or 0, completion or len(self.pieces), reason)


def _next(arrived: queue.SimpleQueue[Any]) -> Any:
    """The next chunk, or None after a moment in which none came."""
    try:
        return arrived.get(timeout=POLL_S)
    except queue.Empty:
        return None


def _nobody(piece: str) -> None:
    """Hears the pieces of what is handed out whole."""


def defused(text: str) -> str:
    """The text with the usual control tokens broken, so that no message can pose as another role's."""
    return _CONTROL.sub("< ", text)


def _request(model: str, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    request = {
        "model": model,
        "messages": [{"role": message["role"], "content": defused(message["content"])} for message in messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.seed is not None:
        request["seed"] = sampling.seed
    if sampling.stop:
        request["stop"] = list(sampling.stop)
    return request


def _make_client(url: str, key: str, timeout_s: float) -> AsyncOpenAI:
    for library in ("httpcore2", "httpx2", "openai"):
        logging.getLogger(library).setLevel(logging.WARNING)  # at lower levels they write down keys and prompts
    wire = httpx2.AsyncClient(
        trust_env=False,  # a proxy from the environment would carry private texts elsewhere,
        follow_redirects=False,  # and so would a redirect
        verify=ssl.create_default_context() if url.startswith("https") else True,
        timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s), pool=CONNECT_S),
        limits=httpx2.Limits(max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_S),
    )
    strangers = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    return AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=wire, default_headers=strangers)  # type: ignore[arg-type]
