"""Every typed message on the line: frozen, versioned, refusing unknown fields."""

from __future__ import annotations

import time
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator
from uuid_utils import uuid7

from switchtower.models import (
    Capability,
    Complexity,
    Frozen,
    ModelCard,
    Name,
    OutputFormat,
    Privacy,
    Probabilities,
    Sampling,
    Score,
    Usage,
    Verdict,
)

Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Millis = Annotated[int, Field(gt=0, lt=2**53, description="milliseconds since the Unix epoch")]
Station = Annotated[str, Field(pattern=r"^switchtower\.[a-z.]+$", max_length=64)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256, in hex")]


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def new_identity() -> str:
    """A fresh UUIDv7 (RFC 9562), which sorts by time."""
    return str(uuid7())


class Envelope(Frozen):
    """What travels as the one argument of a task: a sealed head and the payload's exact text."""

    v: int
    wire: Station
    id: Identity
    job: Identity
    role: str = Field(max_length=32)
    kid: Name
    iat: Millis
    exp: Millis
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: Hash
    payload: str
    sig: str = Field(max_length=128)


class Message(Frozen):
    """The fields that every message carries."""

    v: Literal[1] = 1
    id: Identity = Field(default_factory=new_identity)
    job: Identity
    parent: Identity | None = None
    trace: str | None = Field(default=None, max_length=64, description="W3C traceparent")
    tenant: Name = "default"
    user: Name = "anonymous"
    created: Millis = Field(default_factory=now_ms)
    deadline: Millis | None = None
    budget: float | None = Field(default=None, ge=0, description="US dollars")

    def heirloom(self) -> dict[str, Any]:
        """The common fields that a message made in answer to this one inherits."""
        kept = ("job", "parent", "trace", "tenant", "user", "deadline", "budget")
        return {name: getattr(self, name) for name in kept}


def _own_job(data: Any) -> Any:
    """The fields of a message that starts a job: where none is named, the job gets the message's own id."""
    if not isinstance(data, dict) or "job" in data:
        return data
    identity = data.get("id") or new_identity()
    return {**data, "id": identity, "job": identity}


class Turn(Frozen):
    """One earlier turn of a conversation."""

    role: Literal["user", "assistant"]
    text: str


class UserRequest(Message):
    """A question from outside; the job that it starts bears its id."""

    job: Identity = ""

    kind: Literal["user_request"] = "user_request"
    prompt: str = Field(min_length=1)
    history: tuple[Turn, ...] = Field(default=(), max_length=256)
    capability: Capability | None = None
    model: Name | None = None
    privacy: Privacy = Privacy.STANDARD
    complexity: Complexity | None = None
    sampling: Sampling = Sampling()
    format: OutputFormat | None = None

    @model_validator(mode="before")
    @classmethod
    def _job_is_its_request(cls, data: Any) -> Any:
        return _own_job(data)

    @field_validator("prompt")
    @classmethod
    def _prompt_says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is blank")
        return prompt

    @model_validator(mode="after")
    def _nothing_cuts_a_format(self) -> Self:
        if self.format and self.sampling.stop:
            raise ValueError("a stop string could cut the answer out of its format; leave one of the two out")
        return self


Subject = TypeVar("Subject", bound=Message)


class Screened(Message, Generic[Subject]):
    """A message that a guardrail has judged and let pass."""

    kind: Literal["screened"] = "screened"
    subject: Subject
    verdict: Verdict


class RoutingDecision(Message):
    """Which model answers, why, and the guardrail's own sealed proof that the request passed."""

    kind: Literal["routing_decision"] = "routing_decision"
    screened: Envelope
    card: ModelCard
    strategy: Name
    reason: str = Field(max_length=500)
    candidates: tuple[Name, ...] = ()


class _Labelled(Frozen):
    text: str
    scores: Probabilities | None = Field(default=None, description="of closed labels; the text is the likeliest")

    @model_validator(mode="after")
    def _text_is_a_label(self) -> Self:
        if self.scores is not None and self.text not in self.scores:
            raise ValueError("the answer is none of its labels")
        return self


class Completion(Message, _Labelled):
    """What a model answered."""

    kind: Literal["completion"] = "completion"
    text: str
    model: Name
    adapter: Name | None = None
    usage: Usage = Usage()
    finish_reason: Name


class JobResult(Message, _Labelled):
    """The reviewed answer of a finished job."""

    kind: Literal["job_result"] = "job_result"
    text: str
    model: Name
    adapter: Name | None = None
    usage: Usage = Usage()
    finish_reason: Name
    verdict: Verdict


class LLMDelegation(Message):
    """One model hands a part of its task to another; it becomes a child job."""

    kind: Literal["llm_delegation"] = "llm_delegation"
    source: Name
    target: Name | Capability
    task: str = Field(min_length=1)


Permitted = Literal["file_read", "file_write", "search", "execute", "delegate"]
"""What a model may ask to do; the schema of the permission policies has an action for each."""


class PermissionRequest(Message):
    """A model asks to act on the world, and says why."""

    kind: Literal["permission_request"] = "permission_request"
    model: Name
    action: Permitted
    resource: str = Field(min_length=1, max_length=4096)
    explanation: str = Field(min_length=1, max_length=2000)
    tainted: bool = Field(default=True, description="retrieved or tool text is in the model's context, or may be")


class PermissionDecision(Message):
    """The answer to a permission request: granted, denied, or not granted until a human has answered `question`."""

    kind: Literal["permission_decision"] = "permission_decision"
    request: Identity
    granted: bool
    reason: str = Field(max_length=500)
    expires: Millis | None = None
    model: Name | None = None
    action: Permitted | None = None
    resource: str = Field(default="", max_length=4096, description="the canonical form, which was decided on")
    question: Identity | None = None
    grant: Identity | None = None
    policies: tuple[str, ...] = Field(default=(), description="the policies that decided, by their @id")
    version: Hash | None = Field(default=None, description="SHA-256 of the policies in force")

    @property
    def pending(self) -> bool:
        return self.question is not None and not self.granted


class SecurityAlert(Message):
    """Something that an operator should know; it never carries the text that caused it."""

    kind: Literal["security_alert"] = "security_alert"
    source: Name
    verdict: Verdict | None = None
    summary: str = Field(max_length=500)
    suggests_lockdown: bool = False


class StateChange(Message):
    """A job, a model or the whole system has moved from one state to another."""

    kind: Literal["state_change"] = "state_change"
    subject: Name
    before: Name | None = None
    after: Name
    reason: str = Field(default="", max_length=500)


class IngestRequest(Message):
    """Documents to parse, chunk, screen, embed and store."""

    kind: Literal["ingest_request"] = "ingest_request"
    scope: Name
    sources: tuple[str, ...] = Field(min_length=1, max_length=10_000)


class IngestReport(Message):
    """What became of the documents."""

    kind: Literal["ingest_report"] = "ingest_report"
    request: Identity
    stored: int = Field(ge=0)
    refused: dict[str, str] = Field(default_factory=dict)


class SandboxRequest(Message):
    """Code to run under a named isolation class."""

    kind: Literal["sandbox_request"] = "sandbox_request"
    isolation: Name
    command: tuple[str, ...] = Field(min_length=1)
    files: dict[str, str] = Field(default_factory=dict)
    seconds: float = Field(default=30, gt=0, le=3600)


class SandboxReport(Message):
    """What the guest did, and the hash of the changes that wait for review."""

    kind: Literal["sandbox_report"] = "sandbox_report"
    request: Identity
    isolation: Name
    exit_code: int
    output: str
    diff_hash: Hash | None = None


class TrainingRequest(Message):
    """A wish to train the adapter whose folder stands on the train worker's shelf; the job that it starts bears its id.

    It names a folder and changes numbers of its recipe. Data, prompts and paths never travel.
    """

    job: Identity = ""

    kind: Literal["training_request"] = "training_request"
    adapter: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    rank: int | None = Field(default=None, ge=1, le=64)
    epochs: int | None = Field(default=None, ge=1, le=20)
    seed: int | None = Field(default=None, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _job_is_its_request(cls, data: Any) -> Any:
        return _own_job(data)


class TrainingReport(Message):
    """An adapter that was trained, beat the base model and stands on the shelf."""

    kind: Literal["training_report"] = "training_report"
    adapter: Name
    sha256: Hash
    seconds: float = Field(ge=0)
    scores: tuple[Score, ...] = Field(min_length=1)


class Feedback(Message):
    """What a user thought of an answer."""

    kind: Literal["feedback"] = "feedback"
    score: float = Field(ge=-1, le=1)
    comment: str = Field(default="", max_length=2000)


KINDS: tuple[type[Message], ...] = (
    UserRequest,
    Screened,
    RoutingDecision,
    Completion,
    JobResult,
    LLMDelegation,
    PermissionRequest,
    PermissionDecision,
    SecurityAlert,
    StateChange,
    IngestRequest,
    IngestReport,
    SandboxRequest,
    SandboxReport,
    TrainingRequest,
    TrainingReport,
    Feedback,
)
