"""Canvases that nobody may hang on a job, by what is wrong with them."""

from __future__ import annotations

from typing import Any

from switchtower.queues import GPU, GUARDRAIL, REVIEW, ROUTE, ROUTER, SCREEN
from tests.support.raw import LOOT, foreign


def own(wire: str = REVIEW, **options: Any) -> dict[str, Any]:
    """A step of the line's own."""
    return {"task": wire, "args": [], "kwargs": {}, "options": options, "subtask_type": None}


def nested(kind: str, **kwargs: Any) -> dict[str, Any]:
    """A canvas of Celery's in a callback's place."""
    return foreign() | {"task": f"celery.{kind}", "subtask_type": kind, "kwargs": kwargs}


UNLAWFUL: dict[str, Any] = {
    "a link before the review": {"callbacks": [foreign()]},
    "a chord before the review": {"chord": foreign()},
    "a link on the route": {"chain": [own(), own(ROUTE, link=[foreign()])]},
    "a chord on the route": {"chain": [own(), own(ROUTE, chord=foreign())]},
    "a task of the line": {"chain": [foreign(REVIEW), foreign(), own(ROUTE)]},
    "a link to the line": {"chain": [own(link=[foreign(SCREEN)])]},
    "a link to Celery": {"chain": [own(link=[foreign("celery.backend_cleanup")])]},
    "a queue of the line": {"chain": [own(link=[foreign(place=ROUTER)])]},
    "a queue of the clouds": {"chain": [own(link=[foreign(place="cloud.openai")])]},
    "remote control": {"chain": [own(link=[foreign(place="celery.pidbox")])]},
    "events": {"chain": [own(link=[foreign(place="celeryev")])]},
    "a reply": {"chain": [own(link=[foreign(place="x.reply.celery.pidbox")])]},
    "a key": {"chain": [own(link=[foreign(place="switchtower:due")])]},
    "bindings": {"chain": [own(link=[foreign(place="_kombu.binding.guardrail")])]},
    "no queue": {"chain": [own(link=[foreign() | {"options": {}}])]},
    "half a queue": {"chain": [own(link=[foreign() | {"options": {"routing_key": LOOT}}])]},
    "a queue that is no name": {"chain": [own(link=[foreign() | {"options": {"queue": {"name": LOOT}}}])]},
    "a group": {"chain": [own(link=[nested("group", tasks=[foreign()])])]},
    "a chord in a link": {"chain": [own(link=[nested("chord", header=[foreign()], body=foreign())])]},
    "a map": {"chain": [own(link=[nested("map", task=foreign(), it=[1, 2])])]},
    "a chain to the line": {"chain": [own(chord=nested("chain", tasks=[foreign(), foreign(REVIEW)]))]},
    "a link of a link": {"chain": [own(link=[foreign(link=[foreign(place=GPU)])])]},
    "an errback to the line": {"errbacks": [foreign(REVIEW, place=GUARDRAIL)]},
    "a serializer": {"chain": [own(link=[foreign(serializer="pickle")])]},
    "a policy of trying": {"chain": [own(link=[foreign(retry_policy={"max_retries": None})])]},
    "headers": {"chain": [own(link=[foreign(headers={"task": REVIEW})])]},
    "a connection": {"chain": [own(link=[foreign(connection="redis://elsewhere")])]},
    "too many": {"chain": [own(link=[foreign() for _ in range(101)])]},
    "no list": {"chain": {"task": REVIEW}},
    "no steps": {"chain": [1]},
    "no links": {"callbacks": 1, "errbacks": "x"},
    "no name": {"chain": [own(link=[{"options": {"queue": LOOT}}])]},
    "an odd group": {"chain": [own(group_id=["x"], chord=foreign())]},
    "an odd index": {"chain": [own(group_id="x", group_index="+inf", chord=foreign())]},
    "no object": ["callbacks"],
}
