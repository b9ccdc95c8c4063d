"""route: choose a model among those that may see the request and can do it."""

from __future__ import annotations

import json
from collections.abc import Set as AbstractSet

from router.classify import capability
from router.pool import Pool
from router.strategies import STRATEGIES, allowed, choose
from switchtower.errors import ConfigurationError, NoCapableModel, NoModelYet
from switchtower.messages import Message, RoutingDecision, Screened, UserRequest
from tasks.station import Body
from tasks.work import Work


def router(pool: Pool, strategy: str) -> Body:
    """The body of the route station; raises `ConfigurationError` for a strategy that does not exist."""
    if strategy not in STRATEGIES:
        raise ConfigurationError(f"no routing strategy {strategy!r}; there are {', '.join(STRATEGIES)}")

    def route(work: Work[Screened[UserRequest]]) -> Message:
        request = work.message.subject
        wanted, why = capability(request)
        known = pool.candidates()
        if not known:
            raise NoModelYet
        left = [one for one in known if one.card.name not in work.avoid]
        able = allowed(left, request.privacy, request.model, wanted)
        if not able:
            raise NoCapableModel(_nobody(request, request.model or wanted, work.avoid))
        choice = choose(strategy, able, f"{wanted} ({why})", work.job)
        facts = {"model": choice.card.name, "adapter": choice.card.adapter, "reason": choice.reason}
        work.facts["route"] = json.dumps(facts)
        return RoutingDecision(
            screened=work.envelope,
            card=choice.card,
            strategy=strategy,
            reason=choice.reason,
            candidates=choice.candidates,
            **work.message.heirloom(),
        )

    return route


def _nobody(request: UserRequest, target: str, avoid: AbstractSet[str]) -> str:
    if avoid:
        names = ", ".join(sorted(avoid))
        return (
            f"too little memory for this request: {names}; no other model may answer {target!r}. "
            "Shorten it, ask for fewer tokens, or raise local.kv_cache_mb"
        )
    return f"no known model may answer {target!r} at privacy {request.privacy}"
