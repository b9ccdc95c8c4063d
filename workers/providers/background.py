"""An event loop beside the task threads, because a coroutine can be ended at any moment, and a blocked read cannot."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Life:
    loop: asyncio.AbstractEventLoop
    end: asyncio.Event
    thread: threading.Thread


class Background:
    """One loop in a thread of its own per process, made when it is first needed, and so never before a fork."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._lives: dict[int, _Life] = {}

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let the work run; to cancel what this returns ends it wherever it is."""
        return asyncio.run_coroutine_threadsafe(work, self._life().loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the work and wait for it."""
        return self.start(work).result()

    def close(self) -> None:
        """End this process's loop, if there is one, and cancel what runs in it."""
        with self._lock:
            life = self._lives.pop(os.getpid(), None)
        if life:
            life.loop.call_soon_threadsafe(life.end.set)
            life.thread.join()

    def _life(self) -> _Life:
        with self._lock:
            if os.getpid() not in self._lives:
                self._lives[os.getpid()] = self._born()
            return self._lives[os.getpid()]

    def _born(self) -> _Life:
        born: Future[_Life] = Future()
        threading.Thread(target=lambda: asyncio.run(_live(born)), name=self._name, daemon=True).start()
        return born.result()


async def _live(born: Future[_Life]) -> None:
    life = _Life(asyncio.get_running_loop(), asyncio.Event(), threading.current_thread())
    born.set_result(life)
    await life.end.wait()
