"""Settings in tiers, from `SWITCHTOWER_*` variables, `switchtower.toml` and mounted secrets.

`SWITCHTOWER_BROKER__URL=redis://…` sets `broker.url`; the variable wins over the secret, the secret
over the file, the file over the default.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_state_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
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

    url: str = "redis://127.0.0.1:6379/0"
    socket_timeout_s: float = Field(default=5, gt=0)
    extra_queues: tuple[str, ...] = Field(default=(), description="your own, for chord bodies and links")
    visibility_timeout_s: int = Field(default=7200, gt=0, description="longer than any task or hold")


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
    max_text_chars: int = Field(default=200_000, gt=0)
    judge_s: float = Field(default=30, gt=0, description="a guardrail that has not judged by then refuses")
    watch_s: float = Field(default=0.05, gt=0, description="how often a worker reads the lockdown flag")
    stale_s: float = Field(default=0.25, gt=0, description="a flag older than this counts as locked")


class Lockdown(_Tier):
    """The controller's lease, what raises the lockdown by itself, and what a release takes."""

    lease_s: float = Field(default=5, gt=0, le=5, description="the line locks this long after the controller's death")
    renew_s: float = Field(default=1, gt=0)
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


class Audit(_Tier):
    """The audit trail."""

    url: SecretStr | None = Field(default=None, description="PostgreSQL, as the INSERT-only role; no audit where unset")
    heads: Path | None = Field(default=None, description="the file that signed heads are mirrored to")
    excerpt: Literal["none", "redacted"] = Field(default="none", description="what of a judged text is kept")
    batch: int = Field(default=200, gt=0)
    max_backlog: int = Field(default=1_000_000, gt=0, description="events kept for a writer that is away")


class Permissions(_Tier):
    """What models may do to the world."""

    policies: tuple[Path, ...] = Field(default=(), description="Cedar policies beside the built-in ones")
    root: Path | None = Field(default=None, description="what models may touch; `files` in the home if unset")
    approval_s: float = Field(default=900, gt=0, description="how long a question to a human stands")
    grant_s: float = Field(default=3600, gt=0, description="how long an approval is good where none says otherwise")


class Local(_Tier):
    """The local model and its adapters."""

    adapter_directory: Path | None = Field(default=None, description="the shipped adapters where unset")
    cache_directory: Path = Field(default_factory=lambda: user_cache_path("switchtower"))
    max_concurrent_adapters: int = Field(default=8, gt=0, description="kept loaded; the least recently used goes first")
    context_size: int = Field(default=2048, gt=0, description="tokens of prompt and answer together")
    heartbeat_s: float = Field(default=1, gt=0)


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
