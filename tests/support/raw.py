"""Task messages put together by hand, down to the headers and properties that Celery writes itself."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from redis import Redis

from switchtower.messages import Envelope
from switchtower.queues import GUARDRAIL, SCREEN

LOOT = "loot"
"""A list of the attacker's, in which nothing may ever land."""


def message(
    args: list[Any], task: str, identity: str, embed: Any = None, properties: Any = None, **headers: Any
) -> dict[str, Any]:
    """What Celery would have pushed, with any part of it replaced."""
    body = base64.b64encode(json.dumps([args, {}, embed if embed is not None else {}]).encode()).decode()
    said: dict[str, Any] = {"lang": "py", "task": task, "id": identity}
    told: dict[str, Any] = {
        "delivery_info": {"exchange": "", "routing_key": GUARDRAIL},
        "delivery_tag": str(uuid.uuid4()),
        "body_encoding": "base64",
    }
    return {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": said | headers,
        "properties": told | (properties or {}),
    }


def of_envelope(envelope: Envelope, wire: str = SCREEN, **parts: Any) -> dict[str, Any]:
    """The message of a good envelope, with parts that nobody sealed."""
    return message([envelope.model_dump()], wire, envelope.id, **parts)


def put(redis: Redis, raw: Any, queue: str = GUARDRAIL) -> None:
    """Push it past every client."""
    redis.lpush(queue, raw if isinstance(raw, str | bytes) else json.dumps(raw))


def bind(redis: Redis, queue: str = LOOT) -> None:
    """Make an exchange of this name lead to the queue, as its consumer would."""
    redis.sadd(f"_kombu.binding.{queue}", f"{queue}\x06\x16\x06\x16{queue}")


def foreign(task: str = "their.task", place: str = LOOT, **options: Any) -> dict[str, Any]:
    """A signature of somebody else's task for a queue of somebody else's."""
    where = {"exchange": place, "routing_key": place}
    return {"task": task, "args": [], "kwargs": {}, "options": where | options, "subtask_type": None}


def taken(redis: Redis, queue: str = LOOT) -> list[tuple[str, Any]]:
    """The tasks in a queue with their first argument."""
    found = [json.loads(raw) for raw in redis.lrange(queue, 0, -1)]
    return [(one["headers"]["task"], json.loads(base64.b64decode(one["body"]))[0][0]) for one in found]
