"""The client of other services: submit jobs, watch them, read results, cancel.

from switchtower import Client, UserRequest

client = Client()
job = client.submit(UserRequest(prompt="What is a switch tower?"))
for text in client.stream(job):
    print(text, end="")
print(client.result(job, timeout=30).usage)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Self

from celery import Signature, chain
from redis import Redis

from switchtower.app import create_app
from switchtower.connection import connect, reachable
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import OversizedEnvelope, ResultTimeout
from switchtower.jobs import Event, Record
from switchtower.lease import expect_open
from switchtower.ledger import Ledger, Submission
from switchtower.messages import Envelope, JobResult, Message, TrainingReport, TrainingRequest, UserRequest
from switchtower.outcome import TextCursor, outcome, report
from switchtower.queues import REVIEW, ROUTE, SCREEN, SEALED, TRAIN, step_id
from switchtower.settings import Settings, settings

Progress = Callable[[int], None]
_BLOCK_MS = 1000


def block_ms(until: float) -> int:
    """How long one read may wait, so that neither the socket's time-out nor the caller's is missed."""
    return int(max(1, min(_BLOCK_MS, (until - time.monotonic()) * 1000)))


class Client:
    """A synchronous client; safe to share between threads, made anew after a fork."""

    def __init__(
        self, config: Settings | None = None, signer: Signer | None = None, ring: KeyRing | None = None
    ) -> None:
        self.settings = config or settings()
        keys = self.settings.security.keys_directory
        self._signer = signer or Signer.load(keys, Role.CLIENT)
        self.ring = ring or KeyRing.load(keys)
        self._redis: Redis = connect(self.settings.broker)
        self.ledger = Ledger(self._redis, self.settings.line)
        self.app = create_app(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
        self.app.close()

    # -- handing in ---------------------------------------------------------------------------

    def submit(self, request: UserRequest | str, idempotency_key: str | None = None) -> str:
        """Enqueue one job and return its id; the same key gives the same job again.

        Raises `LockdownActive` under lockdown where `lockdown.submissions` is `refuse`; otherwise the job waits.
        """
        return self._hand_in(self._submission(request, idempotency_key))

    def _hand_in(self, submission: Submission) -> str:
        with reachable():
            self._expect_open()
            accepted = self.ledger.submit(submission)
            if accepted.new:
                self._publish(submission.envelope)
            return accepted.job

    def submit_many(
        self, requests: Iterable[UserRequest | str], progress: Progress | None = None, batch: int = 500
    ) -> list[str]:
        """Enqueue many jobs, pipelined; `progress` hears how many more went out, batch by batch."""
        waiting, jobs = iter(requests), []
        while some := [self._submission(request) for request in islice(waiting, batch)]:
            jobs += self._submit_batch(some)
            if progress:
                progress(len(some))
        return jobs

    def signature(self, request: UserRequest | str) -> Signature:
        """The job as a Celery chain, for groups and chords; its last task's result is the sealed answer."""
        submission = self._submission(request)
        job, sealed = submission.request.job, submission.envelope
        shown = {"argsrepr": SEALED, "kwargsrepr": "{}"}
        first = self.app.signature(SCREEN, args=[sealed.model_dump()], task_id=sealed.id, **shown)
        return chain(
            first, *(self.app.signature(name, task_id=step_id(job, name), **shown) for name in (ROUTE, REVIEW))
        )

    def train(self, request: TrainingRequest) -> str:
        """Enqueue a training and return its job's id; it may take as long as any job may."""
        longest = self.settings.line.max_deadline_s
        return self._hand_in(self._sealed(request, TRAIN, longest))

    def _submission(self, request: UserRequest | str, idempotency_key: str | None = None) -> Submission:
        asked = UserRequest(prompt=request) if isinstance(request, str) else request
        return self._sealed(asked, SCREEN, self.settings.line.deadline_s, idempotency_key)

    def _sealed(self, asked: Message, wire: str, seconds: int, idempotency_key: str | None = None) -> Submission:
        latest = asked.created + self.settings.line.max_deadline_s * 1000
        deadline = min(asked.deadline or asked.created + seconds * 1000, latest)
        timed = asked.model_copy(update={"deadline": deadline})
        envelope = self._signer.seal(timed, wire, step_id(timed.job, wire), deadline)
        # Twice the payload: JSON within JSON may escape, and what is refused here costs nobody a round trip.
        if len(envelope.payload.encode()) * 2 > (limit := self.settings.security.max_envelope_bytes):
            raise OversizedEnvelope(f"the request has {len(envelope.payload)} characters; the limit is {limit // 2}")
        return Submission(timed, envelope, idempotency_key)

    def _expect_open(self) -> None:
        """Under lockdown a job waits in its queue, or is refused here where the settings say so."""
        if self.settings.lockdown.submissions == "refuse":
            expect_open(self._redis, self.ring)

    def _submit_batch(self, some: list[Submission]) -> list[str]:
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            self._expect_open()
            for one in some:
                self.ledger.submit(one, pipe)
            accepted = [self.ledger.submitted(answer) for answer in pipe.execute()]
            with self.app.producer_pool.acquire(block=True) as producer, producer.batch():
                for one, entry in zip(some, accepted, strict=True):
                    if entry.new:
                        self._publish(one.envelope, producer)
            return [entry.job for entry in accepted]

    def _publish(self, envelope: Envelope, producer: Any = None) -> None:
        self.app.send_task(
            envelope.wire,
            args=[envelope.model_dump()],
            task_id=envelope.id,
            ignore_result=True,
            argsrepr=SEALED,
            kwargsrepr="{}",
            producer=producer,
        )

    # -- watching -----------------------------------------------------------------------------

    def status(self, job: str) -> Record:
        """The job's record; raises `JobNotFound`."""
        with reachable():
            return self.ledger.record(job)

    def events(self, job: str, timeout: float | None = None, after: str = "0") -> Iterator[Event]:
        """Everything that happens to the job, from the beginning to its end; raises `ResultTimeout`."""
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        self.status(job)
        while True:
            found = self._events(job, after, block_ms(until))
            for event in found:
                after = event.mark
                yield event
                if event.state and event.state.terminal:
                    return
            if time.monotonic() > until:
                raise ResultTimeout(f"job {job} has not finished within {timeout} s; it goes on")
            # Nothing came: the job may be over and its stream forgotten.
            if not found and self.status(job).state.terminal and not self._events(job, after):
                return

    def _events(self, job: str, after: str, wait_ms: int | None = None) -> list[Event]:
        with reachable():
            return self.ledger.events(job, after, wait_ms)

    def stream(self, job: str, timeout: float | None = None) -> Iterator[str]:
        """The answer's text as it is written; raises what ended the job if it was not done."""
        cursor = TextCursor()
        for event in self.events(job, timeout):
            if fresh := cursor.feed(event):
                yield fresh
        self._outcome(self.status(job))

    def result(self, job: str, timeout: float | None = None) -> JobResult:
        """Wait for the job and return its result, or raise what ended it; raises `ResultTimeout`."""
        return self._outcome(self._ended(job, timeout))

    def report(self, job: str, timeout: float | None = None) -> TrainingReport:
        """The same for a training."""
        return report(self._ended(job, timeout), self.ring, self.settings.security.max_envelope_bytes)

    def _ended(self, job: str, timeout: float | None) -> Record:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        while not (record := self.status(job)).state.terminal:
            if time.monotonic() > until:
                raise ResultTimeout(f"job {job} has not finished within {timeout} s; it goes on")
            with reachable():
                self.ledger.wait(job, block_ms(until) / 1000)
        return record

    def _outcome(self, record: Record) -> JobResult:
        return outcome(record, self.ring, self.settings.security.max_envelope_bytes)

    def cancel(self, job: str) -> list[str]:
        """Cancel the job and its children; a running generation stops at its next token."""
        with reachable():
            return self.ledger.cancel(job)
