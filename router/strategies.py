"""Strategies are pure functions from candidates to a choice, so that a decision can be replayed."""

from __future__ import annotations

import hashlib
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


def by_share(candidates: Sequence[Candidate], best: Candidate, job: str) -> Candidate:
    """The version of the best one's family that serves this job: the same for the same job and the same shares.

    A version that no worker serves now gets a job only where none is served.
    """
    family = best.card.family
    same = [one for one in candidates if one.card.family == family and one.available == best.available]
    if family is None or len(same) == 1:
        return best
    ranked = sorted(same, key=lambda one: one.card.name)
    left = _point(family, job) * sum(one.card.share for one in ranked)
    for one in ranked:
        left -= one.card.share
        if left < 0:
            return one
    return ranked[-1]


def _point(family: str, job: str) -> float:
    """Where a job falls between 0 and 1, as good as by chance and always there."""
    digest = hashlib.sha256(f"{family} {job}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _may_see(card: ModelCard, privacy: Privacy) -> bool:
    if privacy.at_least(Privacy.HIGH) and card.provider is not Provider.LOCAL:
        return False
    return card.privacy.at_least(privacy)


def choose(strategy: str, candidates: Sequence[Candidate], why: str, job: str) -> Choice:
    """Apply a strategy by its name to at least one candidate; versions of one family share its jobs."""
    best = by_share(candidates, STRATEGIES[strategy](candidates), job)
    state = "live" if best.available else "known but not live now, so the job waits in its queue"
    reason = f"{strategy}: {why}; {len(candidates)} able, {best.card.name} is {state}"
    return Choice(best.card, reason, tuple(sorted(one.card.name for one in candidates)))
