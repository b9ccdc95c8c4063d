"""Strategies are pure functions from candidates to a choice, so that a decision can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.pool import Candidate
from switchtower.models import Capability, ModelCard, Privacy, Provider


@dataclass(frozen=True)
class Choice:
    """The chosen model, the reason, and who else could have been."""

    card: ModelCard
    reason: str
    candidates: tuple[str, ...]


Strategy = Callable[[Sequence[Candidate]], Candidate]


def local_first(candidates: Sequence[Candidate]) -> Candidate:
    """Available before absent, local before cloud, cheap before dear, idle before busy."""
    return min(
        candidates,
        key=lambda one: (
            not one.available,
            one.card.provider is not Provider.LOCAL,
            one.card.cost_per_token,
            one.busy,
            one.card.name,
        ),
    )


STRATEGIES: dict[str, Strategy] = {"local_first": local_first}


def allowed(
    candidates: Sequence[Candidate], privacy: Privacy, model: str | None, wanted: Capability
) -> list[Candidate]:
    """The filters that come before any score: who may see the text, and who can do the work."""
    permitted = [one for one in candidates if _may_see(one.card, privacy)]
    if model is not None:
        return [one for one in permitted if model in (one.card.name, one.card.adapter)]
    able = [one for one in permitted if wanted in one.card.capabilities]
    return able or [one for one in permitted if Capability.GENERAL in one.card.capabilities]


def _may_see(card: ModelCard, privacy: Privacy) -> bool:
    if privacy.at_least(Privacy.HIGH) and card.provider is not Provider.LOCAL:
        return False
    return card.privacy.at_least(privacy)


def choose(strategy: str, candidates: Sequence[Candidate], why: str) -> Choice:
    """Apply a strategy by its name to at least one candidate."""
    best = STRATEGIES[strategy](candidates)
    state = "live" if best.available else "known but not live now, so the job waits in its queue"
    reason = f"{strategy}: {why}; {len(candidates)} able, {best.card.name} is {state}"
    return Choice(best.card, reason, tuple(sorted(one.card.name for one in candidates)))
