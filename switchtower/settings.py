"""Settings in tiers, from `SWITCHTOWER_*` variables, `switchtower.toml` and mounted secrets.

`SWITCHTOWER_BROKER__URL=redis://…` sets `broker.url`; the variable wins over the secret, the secret
over the file, the file over the default.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from platformdirs import user_cache_path, user_state_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from switchtower.errors import ConfigurationError

EMBEDDED = "embedded.toml"
"""Written into the home folder by `switchtower up`, so that other commands find the embedded system."""


class _Tier(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Broker(_Tier):
    """The Redis or Valkey server."""

    url: str = Field(default="redis://127.0.0.1:6379/0", description="or the file:// in which it stands")
    ca_file: Path | None = Field(default=None, description="who vouches for a rediss:// server; the system's if unset")
    certificate_file: Path | None = Field(default=None, description="this process's own, for mutual TLS")
    key_file: Path | None = None
    socket_timeout_s: float = Field(default=5, gt=0)
    extra_queues: tuple[str, ...] = Field(default=(), description="your own, for chord bodies and links")
    visibility_timeout_s: int = Field(default=7200, gt=0, description="longer than any task or hold")

    @field_validator("url")
    @classmethod
    def _read_url(cls, url: str) -> str:
        """A URL with its password may lie in a file, as secrets do in containers."""
        parts = urlsplit(url)
        if parts.scheme != "file":
            return url
        try:
            return Path(unquote(parts.path)).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file with the broker's URL cannot be read: {error}") from None

    @model_validator(mode="after")
    def _never_half_encrypted(self) -> Self:
        parts = urlsplit(self.url)
        if "ssl_" in parts.query:
            raise ValueError("TLS is set by ca_file, certificate_file and key_file, not in the URL")
        if parts.scheme != "rediss" and (self.ca_file or self.certificate_file or self.key_file):
            raise ValueError("there are files for TLS, but the URL does not begin with rediss://")
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file go together")
        return self


class Line(_Tier):
    """How long things may take, and how often they are tried."""

    deadline_s: int = Field(default=3600, gt=0, description="for jobs that name no deadline")
    max_deadline_s: int = Field(default=86_400, gt=0)
    lease_s: float = Field(default=15, gt=0, description="a running step is renewed at a third of this")
    grace_s: float = Field(default=5, gt=0, description="a handed-on step that nobody claimed is looked at after this")
    sweep_s: float = Field(default=1, gt=0)
    max_deliveries: int = Field(default=5, gt=0)
    retention_s: int = Field(default=86_400, gt=0, description="finished jobs are remembered this long")
    max_events: int = Field(default=10_000, gt=0, description="events kept per job")
    soft_shutdown_s: float = Field(default=10, ge=0, description="about the 99th percentile of a task")


class Security(_Tier):
    """Keys, limits and rules."""

    keys_directory: Path = Field(default_factory=lambda: user_state_path("switchtower") / "keys")
    max_envelope_bytes: int = Field(default=1_048_576, gt=0)
    rules: tuple[Path, ...] = Field(default=(), description="rule packs beside the built-in ones")
    reload_s: float = Field(default=1, gt=0, description="how often a worker looks whether its rule files have changed")
    max_text_chars: int = Field(default=200_000, gt=0)
    judge_s: float = Field(default=30, gt=0, description="a guardrail that has not judged by then refuses")
    watch_s: float = Field(default=0.05, gt=0, description="how often a worker reads the lockdown flag")
    stale_s: float = Field(default=0.25, gt=0, description="a flag older than this counts as locked")
    injection: Literal["off", "ngrams", "balanced", "strict"] = Field(
        default="balanced", description="the trained detector; `ngrams` does without torch"
    )
    injection_input: float | None = Field(
        default=None, gt=0, le=0.1, description="share of harmless prompts that may be refused; the policy's if unset"
    )
    injection_document: float | None = Field(default=None, gt=0, le=0.1, description="the same of harmless documents")
    redact: Literal["never", "cloud", "always"] = Field(default="cloud", description="who is asked in placeholders")
    release_hold_chars: int = Field(default=1024, gt=0, description="the most of an answer that waits to be judged")


class Lockdown(_Tier):
    """The controller's lease, what raises the lockdown by itself, and what a release takes."""

    directory: Path | None = Field(default=None, description="the controller's own; `controller` in the home if unset")
    lease_s: float = Field(default=5, gt=0, le=5, description="the line locks this long after the controller's death")
    renew_s: float = Field(default=1, gt=0, description="at most half of the lease")
    denied_permissions: int = Field(default=5, gt=0, description="more denials of one model in the window raise")
    alerts: int = Field(default=20, gt=0, description="more alerts of one source in the window raise")
    window_s: float = Field(default=300, gt=0)
    broker_memory: float = Field(default=0.9, gt=0, le=1, description="share of the broker's maxmemory")
    host_memory: float = Field(default=0.95, gt=0, le=1, description="share of the controller's host's memory")
    disk: float = Field(default=0.95, gt=0, le=1, description="share of the disk under the home folder")
    audit_backlog: int = Field(default=100_000, gt=0, description="events that wait for the audit's writer")
    release_attempts: int = Field(default=5, gt=0, description="failed releases in the window before a pause")
    release_window_s: float = Field(default=900, gt=0)
    second_person: bool = Field(default=False, description="a release takes two different operators")
    submissions: Literal["hold", "refuse"] = Field(default="hold", description="new jobs under lockdown")
    argon2_memory_kib: int = Field(default=65_536, ge=8192, le=4_194_304, description="what guessing a password costs")

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_s * 2 > self.lease_s:
            raise ValueError("renew_s must be at most half of lease_s")
        return self


class Audit(_Tier):
    """The audit trail."""

    url: SecretStr | None = Field(default=None, description="PostgreSQL, as the INSERT-only role; no audit where unset")
    reader_url: SecretStr | None = Field(default=None, description="the same, as the role that may read everything")
    heads: Path | None = Field(default=None, description="the signed heads; `audit/heads.jsonl` in the home if unset")
    head_rows: int = Field(default=1000, gt=0, description="a head is signed after so many rows …")
    head_s: float = Field(default=10, gt=0, description="… and so long after a row that none covers yet")
    excerpt: Literal["none", "redacted"] = Field(default="none", description="what of a judged text is kept")
    batch: int = Field(default=200, gt=0, description="events in one transaction")
    max_note_bytes: int = Field(default=65_536, gt=0, description="a longer event is recorded by its hash")
    patience_s: float = Field(default=30, gt=0, description="longest pause between two tries to reach PostgreSQL")


class Permissions(_Tier):
    """What models may do to the world."""

    policies: tuple[Path, ...] = Field(default=(), description="Cedar policies beside the built-in ones")
    root: Path | None = Field(default=None, description="what models may touch; `files` in the home if unset")
    approval_s: float = Field(default=900, gt=0, description="how long a question to a human stands")
    grant_s: float = Field(default=3600, gt=0, description="how long an approval is good where none says otherwise")
    max_grant_s: float = Field(default=2_592_000, gt=0, description="what is to stand longer belongs into a policy")
    decision_s: float = Field(default=30, gt=0, description="how long after its decision a permission may be used")
    max_questions: int = Field(default=20, gt=0, description="open questions of one model; more of them are denied")
    max_file_bytes: int = Field(default=16_777_216, gt=0, description="of a file that a model reads or writes")


class Local(_Tier):
    """The local model and its adapters."""

    base_model_path: str | None = Field(
        default=None,
        min_length=1,
        description="a folder of safetensors, a .gguf file or a name in the cache; built in if unset",
    )
    adapter_directory: Path | None = Field(default=None, description="the shipped adapters where unset")
    cache_directory: Path = Field(default_factory=lambda: user_cache_path("switchtower"))
    weights: Literal["auto", "nf4", "bf16", "fp32"] = Field(
        default="auto", description="4 bits where the device computes them well, bf16 elsewhere"
    )
    gpu_layers: int | None = Field(
        default=None, ge=-1, description="layers on the GPU, all if unset or -1; rest on CPU"
    )
    threads: int | None = Field(default=None, gt=0, le=1024, description="of the CPU; measured at load if unset")
    context_size: int = Field(default=2048, gt=0, description="tokens of prompt and answer together")
    max_batch: int = Field(default=16, gt=0, le=1024, description="jobs that decode together")
    prefill_chunk: int = Field(default=256, gt=0, description="tokens of prompts that one step reads")
    kv_cache_mb: int = Field(default=1024, gt=0, description="memory for the keys and values of running jobs")
    prefix_cache_mb: int = Field(default=64, ge=0, description="the same of prompts' shared beginnings; none at 0")
    stuck_s: float = Field(default=30, gt=0, description="a step that takes longer means that the engine is stuck")
    max_concurrent_adapters: int = Field(default=8, gt=0, description="kept loaded; the least recently used goes first")
    max_adapter_rank: int = Field(default=16, gt=0, le=512, description="an adapter of a higher rank is refused")
    host_adapter_mb: int = Field(default=512, gt=0, description="memory for adapters that wait outside the slots")
    adapter_age_s: float = Field(default=2.0, gt=0, description="an adapter that waits longer gets the next slot")
    adapter_residency_s: float = Field(default=0.25, ge=0, description="an adapter keeps its slot at least this long")
    pinned_adapters: tuple[str, ...] = Field(default=(), description="adapters that never leave their slots")
    preload_adapters: tuple[str, ...] = Field(default=(), description="adapters that are loaded when the worker starts")
    server_url: str | None = Field(default=None, description="a model server's /v1, in the place of a model in here")
    server_key: SecretStr | None = None
    server_model: str | None = Field(default=None, description="what the server calls the base model, if not as we do")
    server_timeout_s: float = Field(default=120, gt=0, description="a server that is silent for longer is given up")
    server_is_private: bool = Field(default=False, description="your word that private texts may go to server_url")
    heartbeat_s: float = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _room_beside_the_pinned(self) -> Self:
        if len(set(self.pinned_adapters)) > self.max_concurrent_adapters:
            raise ValueError("pinned_adapters are more than max_concurrent_adapters")
        return self


class Routing(_Tier):
    """How models are chosen."""

    default_strategy: str = "local_first"
    registry_cache_s: float = Field(default=0.5, ge=0)


class Cost(_Tier):
    """What things cost."""

    local_cost_per_token: float = Field(default=2e-8, ge=0, description="US dollars, amortised")


class Flower(_Tier):
    """The task monitor."""

    port: int = Field(default=5555, gt=0, lt=65_536)
    user: str = "operator"
    password: SecretStr | None = None


class Settings(BaseSettings):
    """All settings; each tier is frozen, and an unknown name in a tier is an error."""

    model_config = SettingsConfigDict(
        env_prefix="SWITCHTOWER_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(default_factory=lambda: user_state_path("switchtower"))
    broker: Broker = Broker()
    line: Line = Line()
    security: Security = Field(default_factory=Security)
    lockdown: Lockdown = Lockdown()
    audit: Audit = Audit()
    permissions: Permissions = Permissions()
    local: Local = Field(default_factory=Local)
    routing: Routing = Routing()
    cost: Cost = Cost()
    flower: Flower = Flower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = Path(os.environ.get("SWITCHTOWER_HOME") or user_state_path("switchtower"))
        files = TomlConfigSettingsSource(settings_cls, [home / EMBEDDED, Path("switchtower.toml")])
        return init_settings, env_settings, file_secret_settings, files


def load(**overrides: object) -> Settings:
    """The settings in force; raises `ConfigurationError` naming each wrong one."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigurationError(f"wrong settings: {wrong}") from None


@cache
def settings() -> Settings:
    """The process's settings, read once."""
    return load()
