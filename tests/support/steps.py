"""A worker's moves in the ledger, made by hand: no Celery, no bodies."""

from __future__ import annotations

from switchtower.envelope import Role, Signer
from switchtower.jobs import FLAG
from switchtower.ledger import Claim, Ledger, Submission
from switchtower.messages import Envelope, Feedback, UserRequest, now_ms
from switchtower.queues import SCREEN, step_id
from switchtower.settings import Line
from tests.support.harness import Harness

SIGNER = Signer.create(Role.CLIENT)
"""The ledger verifies no seals, the station does; any key will do."""


class Steps:
    """A ledger and what a worker does with it."""

    def __init__(self, made: Harness, line: Line | None = None) -> None:
        self.redis = made.redis
        self.ledger = Ledger(made.redis, line or made.settings.line)

    @property
    def flag(self) -> str:
        """The raw flag, as a worker that has verified it knows it."""
        return self.redis.get(FLAG) or ""

    def submission(self, idempotency: str | None = None, seconds: float = 60, **fields: object) -> Submission:
        request = UserRequest.model_validate({"prompt": "hello"} | fields)
        return Submission(request, self.envelope(request.job, SCREEN, seconds, request), idempotency)

    def envelope(self, job: str, wire: str, seconds: float = 60, message: object = None) -> Envelope:
        """A message to a station."""
        said = message if isinstance(message, UserRequest) else Feedback(job=job, score=0)
        return SIGNER.seal(said, wire, step_id(job, wire), now_ms() + int(seconds * 1000))

    def submit(self, **fields: object) -> Envelope:
        """A job in the ledger; returns the message to its first station."""
        submission = self.submission(**fields)
        self.ledger.submit(submission)
        return submission.envelope

    def claim(self, envelope: Envelope, holder: str = "me", flag: str | None = None) -> Claim:
        return self.ledger.claim(envelope, holder, self.flag if flag is None else flag)

    def running(self, holder: str = "me", **fields: object) -> Envelope:
        """A job whose first step the holder has."""
        envelope = self.submit(**fields)
        assert self.claim(envelope, holder).ok
        return envelope
