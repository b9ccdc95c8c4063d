"""The audit's signed heads, where this deployment keeps an audit: a release must bear one of the incident."""

from __future__ import annotations

from security.lockdown.request import Heads
from switchtower.settings import Settings


def audited(settings: Settings) -> bool:
    """Whether this deployment keeps an audit trail."""
    return settings.audit.url is not None or settings.audit.heads is not None


def heads_of(settings: Settings) -> Heads | None:
    """The heads that a release must bear one of; nothing where no audit is kept."""
    from security.audit.heads import Mirror

    return Mirror.of(settings) if audited(settings) else None
