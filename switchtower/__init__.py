"""Switchtower: a hybrid-LLM task queue on Celery.

`Client` and `AsyncClient` hand jobs in; the messages they speak stand in `switchtower.messages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchtower.errors import SwitchtowerError
from switchtower.jobs import Event, Record, State
from switchtower.messages import Feedback, JobResult, TrainingReport, TrainingRequest, Turn, UserRequest
from switchtower.models import Capability, Complexity, JsonSchema, Labels, Privacy, Sampling
from switchtower.settings import Settings

if TYPE_CHECKING:
    from switchtower.aio import AsyncClient
    from switchtower.client import Client

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Capability",
    "Client",
    "Complexity",
    "Event",
    "Feedback",
    "JobResult",
    "JsonSchema",
    "Labels",
    "Privacy",
    "Record",
    "Sampling",
    "Settings",
    "State",
    "SwitchtowerError",
    "TrainingReport",
    "TrainingRequest",
    "Turn",
    "UserRequest",
]

_LAZY = {"Client": "switchtower.client", "AsyncClient": "switchtower.aio"}


def __getattr__(name: str) -> Any:
    """The clients are imported when first asked for: they bring Celery along."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
