"""The vocabulary of the line: what a model can do, who may see a text, how bad a finding is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")]


class Frozen(BaseModel):
    """A value that never changes and refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Ladder(StrEnum):
    """Named steps in rising order, comparable by their place."""

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)

    def at_least(self, other: _Ladder) -> bool:
        """Whether this step stands as high as the other one."""
        return self.rank >= other.rank


class Capability(StrEnum):
    """What a model is good for; the router's index is built over these."""

    GENERAL = "general"
    CODE = "code"
    SECURITY = "security"
    INTENT = "intent"
    WORKFLOW = "workflow"
    CONTENT = "content"
    KNOWLEDGE = "knowledge"
    CLARIFICATION = "clarification"


class Privacy(_Ladder):
    """How private a text is; from `high` on it never leaves for a cloud."""

    PUBLIC = "public"
    STANDARD = "standard"
    HIGH = "high"
    MAXIMUM = "maximum"


class Complexity(_Ladder):
    """How much model a request needs."""

    SIMPLE = "simple"
    MODERATE = "moderate"
    COMPLEX = "complex"
    EXPERT = "expert"


class RiskLevel(_Ladder):
    """How bad a finding is; `critical` engages the lockdown."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Action(_Ladder):
    """What a guardrail does about a finding."""

    ALLOW = "allow"
    ASK = "ask"
    BLOCK = "block"


class Surface(StrEnum):
    """Where a guarded text stands."""

    INPUT = "input"
    OUTPUT = "output"
    COMMAND = "command"
    DOCUMENT = "document"


class Finding(Frozen):
    """One rule that matched; it names the rule, never the text."""

    rule: Name
    risk: RiskLevel
    action: Action
    explanation: str = Field(max_length=500)


class Verdict(Frozen):
    """What the guardrail said of one text, and by which rules."""

    action: Action
    risk: RiskLevel
    surface: Surface
    pack: str = Field(description="SHA-256 of the rule packs in force")
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        return self.action is Action.ALLOW


class Provider(StrEnum):
    """Who runs a model; each has a queue and a worker group of its own."""

    LOCAL = "local"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


class ModelCard(Frozen):
    """One model, or one adapter on a base, as the router sees it."""

    name: Name
    provider: Provider
    capabilities: frozenset[Capability]
    base: Name | None = None
    adapter: Name | None = None
    context_tokens: int = Field(default=2048, gt=0)
    cost_per_token: float = Field(default=0.0, ge=0, description="US dollars")
    privacy: Privacy = Field(default=Privacy.MAXIMUM, description="the most private text that it may see")
    system_prompt: str = Field(default="", max_length=4000)
    family: Name | None = Field(default=None, description="whose versions share the traffic")
    share: float = Field(default=1.0, gt=0, le=1, description="of the family's traffic")


class Score(Frozen):
    """One measurement of an adapter on held-out records, beside the untuned base model's."""

    metric: str
    weights: Literal["bf16", "nf4"]
    base: float
    adapter: float
    heldout: int


class Usage(Frozen):
    """Tokens in and out, and what they cost in US dollars."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    cost: float = Field(default=0.0, ge=0)


class Sampling(Frozen):
    """How to draw tokens; temperature 0 is greedy."""

    max_tokens: int = Field(default=256, gt=0, le=8192)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    stop: tuple[str, ...] = Field(default=(), max_length=8)
