"""route: choose a model among those that may see the request and can do it."""

from __future__ import annotations

import json

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
        able = allowed(known, request.privacy, request.model, wanted)
        if not able:
            target = request.model or wanted
            raise NoCapableModel(f"no known model may answer {target!r} at privacy {request.privacy}")
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
