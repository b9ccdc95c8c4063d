"""Generate and review in this process, on a real broker, without Celery: for what goes wrong between the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from security.guardrails import Guardrail
from security.packs import RulePack
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.messages import (
    Completion,
    Envelope,
    JobResult,
    Message,
    RoutingDecision,
    Screened,
    UserRequest,
    now_ms,
)
from switchtower.models import (
    Action,
    Capability,
    Labels,
    ModelCard,
    OutputFormat,
    Provider,
    RiskLevel,
    Surface,
    Verdict,
)
from switchtower.queues import GENERATE_LOCAL, REVIEW, ROUTE, SCREEN
from switchtower.settings import Security, Settings
from tasks.generate import local_generator
from tasks.line import LINE, identity
from tasks.review import reviewer
from tasks.screen import screener
from tasks.work import Work
from workers.providers.base import Generation

MINUTE_MS = 60_000
KEYS = {role: Signer.create(role) for role in (Role.GUARDRAIL, Role.ROUTER, Role.GPU, Role.CLOUD)}
RING = KeyRing.of(*KEYS.values())
PASSED = Verdict(action=Action.ALLOW, risk=RiskLevel.LOW, surface=Surface.INPUT, pack="0" * 64)
GUARDRAIL = Guardrail(RulePack.load())


@dataclass
class Halt:
    """The lockdown as a worker knows it."""

    stopping: bool = False
    locked: bool = False

    def is_set(self) -> bool:
        return self.locked


@dataclass
class Stage:
    """What a worker's stations share; `out` is what left for the job's stream."""

    redis: Redis
    signer: Signer
    settings: Settings
    ring: KeyRing = RING
    halt: Halt = field(default_factory=Halt)
    out: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Stage:
        return self

    def emit(self, job: str, holder: str, kind: str, **data: Any) -> None:
        """Take a piece of the answer."""
        self.out.append(data["text"])


@dataclass
class Player:
    """A model that says what it is told, whatever it was asked; `{}` in it is what it was asked."""

    says: str = "{}"
    pieces: int = 4
    seen: list[list[dict[str, str]]] = field(default_factory=list)
    output: OutputFormat | None = None

    def generate(
        self, messages: Any, adapter: Any, sampling: Any, on_token: Any, stop: Any, output: Any = None
    ) -> Generation:
        """Say it in pieces; of labels, say the last one."""
        self.seen.append(messages)
        self.output = output
        if isinstance(output, Labels):
            share = 1 / len(output.labels)
            return Generation(output.labels[-1], scores=dict.fromkeys(output.labels, share))
        text = self.says.replace("{}", messages[-1]["content"])
        for start in range(0, len(text), self.pieces):
            stop()
            on_token(text[start : start + self.pieces])
        return Generation(text)


class Scene:
    """One job on its way from generate to review."""

    def __init__(self, redis: Redis, request: UserRequest, redact: str = "always", provider: str = "local") -> None:
        security = Security(redact=redact)  # type: ignore[arg-type]
        settings = Settings(security=security)
        self.request = request
        self.gpu = Stage(redis, KEYS[Role.GPU], settings)
        self.guardrail = Stage(redis, KEYS[Role.GUARDRAIL], settings)
        capabilities = frozenset({Capability.GENERAL})
        self.card = ModelCard(name="player", provider=Provider(provider), capabilities=capabilities)

    def screen(self) -> Screened[UserRequest]:
        """The request, once it has passed."""
        return screener(GUARDRAIL)(self._work(SCREEN, self.request, self.guardrail))  # type: ignore[return-value]

    def generate(self, engine: Any) -> Completion:
        """The answer, as the model wrote it."""
        work = self._work(GENERATE_LOCAL, self._decision(), self.gpu)
        return local_generator(engine, GUARDRAIL)(work)  # type: ignore[return-value]

    def review(self, answer: Completion) -> JobResult:
        """The answer, as the user gets it."""
        return reviewer(GUARDRAIL)(self._work(REVIEW, answer, self.guardrail))  # type: ignore[return-value]

    def _decision(self) -> RoutingDecision:
        return RoutingDecision(
            screened=self.proof(), card=self.card, strategy="local_first", reason="the only one", job=self.request.job
        )

    def proof(self, request: UserRequest | None = None, signer: Signer = KEYS[Role.GUARDRAIL]) -> Envelope:
        """The guardrail's word, or another's, that the request may pass."""
        subject = request or self.request
        screened = Screened[UserRequest](subject=subject, verdict=PASSED, **subject.heirloom())
        return signer.seal(screened, ROUTE, identity(subject.job, ROUTE), now_ms() + MINUTE_MS)

    def _work(self, wire: str, message: Message, stage: Stage) -> Work[Any]:
        envelope = KEYS[Role.ROUTER].seal(message, wire, identity(message.job, wire), now_ms() + MINUTE_MS)
        return Work(message, envelope, LINE[wire], "me", stage)  # type: ignore[arg-type]
