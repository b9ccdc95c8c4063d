"""A server at the other end of the wire that speaks OpenAI's protocol: no model, every behaviour, and a memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

BASE = "smollm2-135m-instruct"


@dataclass(frozen=True)
class Reply:
    """How one request is answered; `{}` in the text is the model that was asked for."""

    text: str = "{} has read it all ."
    pause_s: float = 0.0
    silent: bool = False
    """It never begins, not even with a head."""
    hangs_after: int | None = None
    """So many words, and then silence."""
    cut_after: int | None = None
    """So many words, and then the end of the connection."""
    finish: str | None = "stop"
    counts: bool = True
    broken: str | None = None
    """A chunk of this text in the middle."""
    status: int = 200
    error: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class OpenAIServer:
    """Models by name, replies in the order in which they will be given, and what has happened."""

    models: dict[str, dict[str, Any]] = field(default_factory=lambda: {BASE: {"max_model_len": 4096}})
    replies: deque[Reply] = field(default_factory=deque)
    usual: Reply = Reply()
    key: str | None = None
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When the requests came, on the monotonic clock."""
    heads: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    hung_up: list[str] = field(default_factory=list)
    """The models whose answers were not heard to their end."""

    def start(self) -> None:
        """Listen, on the same port as before where there was one."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), name="openai-server")
        self._thread.start()
        assert ready.wait(10), "the server did not start"

    def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        if not self.port:
            self.port = _free_port()
        server = await asyncio.start_server(self._converse, "127.0.0.1", self.port)
        ready.set()
        await self._end.wait()
        server.close()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection is good for another one."""
        method, path, head, body = await _read(reader)
        self.heads.append(head)
        if self.key and head.get("authorization") != f"Bearer {self.key}":
            return _say(writer, 401, {"error": {"message": "who are you?", "type": "authentication_error"}})
        if (method, path) == ("GET", "/v1/models"):
            listed = [{"id": name, "object": "model", "created": 0, **more} for name, more in self.models.items()]
            return _say(writer, 200, {"object": "list", "data": listed})
        assert (method, path) == ("POST", "/v1/chat/completions"), (method, path)
        request = json.loads(body)
        self.requests.append(request)
        self.times.append(time.monotonic())
        return await self._answer(request, reader, writer)

    async def _answer(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        reply = self.replies.popleft() if self.replies else self.usual
        if request["model"] not in self.models:
            missing = {
                "message": f"The model `{request['model']}` does not exist.",
                "type": "NotFoundError",
                "code": 404,
            }
            return _say(writer, 404, {"error": missing})
        if reply.status != 200:
            return _say(writer, reply.status, {"error": reply.error}, reply.headers)
        speaking = asyncio.ensure_future(_speak(request, reply, writer))
        leaving = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({speaking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not speaking.done():
            speaking.cancel()
            self.hung_up.append(request["model"])
            return False
        leaving.cancel()
        await asyncio.wait({leaving})
        return speaking.result()


async def _speak(request: dict[str, Any], reply: Reply, writer: asyncio.StreamWriter) -> bool:
    """Stream one answer; whether it came to a proper end."""
    if reply.silent:
        await asyncio.Event().wait()
    _head(writer, 200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    words = reply.text.format(request["model"]).split(" ")
    for place, word in enumerate(words):
        if place == reply.cut_after:
            return False
        if place == reply.hangs_after:
            await asyncio.Event().wait()
        await _chunk(writer, _delta(request, word + " " * (place + 1 < len(words))))
        await asyncio.sleep(reply.pause_s)
    if reply.broken is not None:
        await _chunk(writer, reply.broken)
    if reply.finish:
        await _chunk(writer, _delta(request, None, reply.finish))
    if reply.counts and request.get("stream_options", {}).get("include_usage"):
        counted = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        await _chunk(writer, json.dumps({"object": "chat.completion.chunk", "choices": [], "usage": counted}))
    await _chunk(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _delta(request: dict[str, Any], content: str | None, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return json.dumps(
        {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": request["model"], "choices": [choice]}
    )


async def _chunk(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").rstrip().split("\r\n")
    head = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, path, _ = first.split(" ")
    return method, path, head, await reader.readexactly(int(head.get("content-length", 0)))


def _say(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> bool:
    raw = json.dumps(body).encode()
    _head(writer, status, {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})})
    writer.write(raw)
    return True


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} It is so", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def openai_server(**fields: Any) -> Iterator[OpenAIServer]:
    """A server that is up inside the block."""
    made = OpenAIServer(**fields)
    made.start()
    try:
        yield made
    finally:
        made.stop()
