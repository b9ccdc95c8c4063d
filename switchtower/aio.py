"""The client for asyncio: the same words as `Client`, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Self

from redis.asyncio import Redis as AsyncRedis

from switchtower.client import Client, Progress, block_ms
from switchtower.connection import connect_async, reachable
from switchtower.envelope import KeyRing, Signer
from switchtower.errors import ResultTimeout
from switchtower.jobs import Event, Record, bell_key, events_key, job_key
from switchtower.messages import JobResult, TrainingReport, TrainingRequest, UserRequest
from switchtower.outcome import TextCursor, outcome, report
from switchtower.settings import Settings


class AsyncClient:
    """An asynchronous client; waits and streams cost a coroutine each, not a thread."""

    def __init__(
        self, config: Settings | None = None, signer: Signer | None = None, ring: KeyRing | None = None
    ) -> None:
        self._sync = Client(config, signer, ring)
        self._redis: AsyncRedis = connect_async(self._sync.settings.broker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
        self._sync.close()

    async def submit(self, request: UserRequest | str, idempotency_key: str | None = None) -> str:
        """Enqueue one job and return its id; the same key gives the same job again.

        Raises `LockdownActive` under lockdown where `lockdown.submissions` is `refuse`; otherwise the job waits.
        """
        return await asyncio.to_thread(self._sync.submit, request, idempotency_key)

    async def train(self, request: TrainingRequest) -> str:
        """Enqueue a training and return its job's id; it may take as long as any job may."""
        return await asyncio.to_thread(self._sync.train, request)

    async def submit_many(
        self, requests: Iterable[UserRequest | str], progress: Progress | None = None, batch: int = 500
    ) -> list[str]:
        """Enqueue many jobs, pipelined; `progress` hears how many more went out, batch by batch."""
        return await asyncio.to_thread(self._sync.submit_many, requests, progress, batch)

    async def status(self, job: str) -> Record:
        """The job's record; raises `JobNotFound`."""
        with reachable():
            return Record.read(job, await self._redis.hgetall(job_key(job)))

    async def events(self, job: str, timeout: float | None = None) -> AsyncIterator[Event]:
        """Everything that happens to the job, from the beginning to its end; raises `ResultTimeout`."""
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        after = "0"
        await self.status(job)
        while True:
            found = await self._read(job, after, block_ms(until))
            for event in found:
                after = event.mark
                yield event
                if event.state and event.state.terminal:
                    return
            if time.monotonic() > until:
                raise ResultTimeout(f"job {job} has not finished within {timeout} s; it goes on")
            if not found and (await self.status(job)).state.terminal and not await self._read(job, after, None):
                return

    async def _read(self, job: str, after: str, wait_ms: int | None) -> list[Event]:
        with reachable():
            return Event.read_all(await self._redis.xread({events_key(job): after}, block=wait_ms))

    async def stream(self, job: str, timeout: float | None = None) -> AsyncIterator[str]:
        """The answer's text as it is written; raises what ended the job if it was not done."""
        cursor = TextCursor()
        async for event in self.events(job, timeout):
            if fresh := cursor.feed(event):
                yield fresh
        self._outcome(await self.status(job))

    async def result(self, job: str, timeout: float | None = None) -> JobResult:
        """Wait for the job and return its result, or raise what ended it; raises `ResultTimeout`."""
        return self._outcome(await self._ended(job, timeout))

    async def report(self, job: str, timeout: float | None = None) -> TrainingReport:
        """The same for a training."""
        record = await self._ended(job, timeout)
        return report(record, self._sync.ring, self._sync.settings.security.max_envelope_bytes)

    async def _ended(self, job: str, timeout: float | None) -> Record:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        bell = bell_key(job)
        while not (record := await self.status(job)).state.terminal:
            if time.monotonic() > until:
                raise ResultTimeout(f"job {job} has not finished within {timeout} s; it goes on")
            with reachable():
                await self._redis.blmove(bell, bell, timeout=block_ms(until) / 1000)  # type: ignore[arg-type]
        return record

    def _outcome(self, record: Record) -> JobResult:
        return outcome(record, self._sync.ring, self._sync.settings.security.max_envelope_bytes)

    async def cancel(self, job: str) -> list[str]:
        """Cancel the job and its children; a running generation stops at its next token."""
        return await asyncio.to_thread(self._sync.cancel, job)
