"""The vocabulary of the line: what a model can do, who may see a text, how bad a finding is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

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


MAX_LABELS = 256
MAX_LABEL_CHARS = 4096
MAX_SCHEMA_CHARS = 16_384
MAX_SCHEMA_DEPTH = 32

Label = Annotated[str, Field(min_length=1, max_length=200)]
Probabilities = Annotated[dict[Label, Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=MAX_LABELS)]
"""How probable each label is; together they make 1."""


class Labels(Frozen):
    """The answer is one of these labels, and comes with the probability of each."""

    kind: Literal["labels"] = "labels"
    labels: tuple[Label, ...] = Field(min_length=2, max_length=MAX_LABELS)

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if label != " ".join(label.split()) or not label.isprintable():
                raise ValueError(
                    f"the label {label!r} is blank, or spelled with stray white space or control characters"
                )
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"each label may stand there once; twice: {', '.join(map(repr, twice))}")
        if (length := sum(map(len, labels))) > MAX_LABEL_CHARS:
            raise ValueError(f"the labels have {length} characters together; the limit is {MAX_LABEL_CHARS}")
        return labels

    @property
    def texts(self) -> tuple[str, ...]:
        """What of this format came from outside."""
        return self.labels

    def reworded(self, word: Callable[[str], str]) -> Self:
        """The same format with each of its texts put into other words."""
        return self.model_copy(update={"labels": tuple(map(word, self.labels))})


class JsonSchema(Frozen):
    """The answer is JSON under this schema; an object or its JSON text is taken, and kept as text."""

    kind: Literal["json_schema"] = "json_schema"
    json_schema: str = Field(max_length=MAX_SCHEMA_CHARS)

    @classmethod
    def of(cls, schema: Mapping[str, Any] | type[BaseModel]) -> Self:
        """The format of a schema, or of a pydantic model."""
        found = schema if isinstance(schema, Mapping) else schema.model_json_schema()
        return cls(json_schema=_canonical(found))

    @field_validator("json_schema", mode="before")
    @classmethod
    def _schema_is_an_object(cls, schema: Any) -> Any:
        """One spelling for each schema: what is judged is what is compiled, whatever was escaped or said twice."""
        if not isinstance(schema, str | Mapping):
            return schema
        try:
            found = json.loads(schema, parse_constant=_no_number) if isinstance(schema, str) else schema
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None
        except ValueError as error:
            raise ValueError(f"the schema is not JSON: {error}") from None
        if not isinstance(found, Mapping):
            raise ValueError("the schema must be a JSON object")  # noqa: TRY004 - pydantic reports ValueErrors
        return _canonical(found)

    @property
    def texts(self) -> tuple[str, ...]:
        """What of this format came from outside: every text in it, names included."""
        return tuple(_texts(json.loads(self.json_schema)))

    def reworded(self, word: Callable[[str], str]) -> Self:
        """The same format with each of its texts put into other words."""
        return self.model_copy(update={"json_schema": _canonical(_reworded(json.loads(self.json_schema), word))})


OutputFormat = Annotated[Labels | JsonSchema, Field(discriminator="kind")]
"""What an answer must look like."""

_TOO_DEEP = f"the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"


def _canonical(schema: Mapping[str, Any]) -> str:
    if _deeper(schema, MAX_SCHEMA_DEPTH):
        raise ValueError(_TOO_DEEP)
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except TypeError as error:
        raise ValueError(f"the schema is not JSON: {error}") from None


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, Mapping | list | tuple):
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (text for one in value for text in _texts(one))
    elif isinstance(value, dict):
        yield from (text for one in value.items() for text in _texts(list(one)))


def _reworded(value: Any, word: Callable[[str], str]) -> Any:
    """The same JSON with its texts, names included, put into other words."""
    if isinstance(value, dict):
        return {word(name): _reworded(one, word) for name, one in value.items()}
    if isinstance(value, list):
        return [_reworded(one, word) for one in value]
    return word(value) if isinstance(value, str) else value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
