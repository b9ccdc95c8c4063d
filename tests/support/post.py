"""Messages put on a queue by hand, past every client, and what became of them."""

from __future__ import annotations

import json
from typing import Any

from switchtower.envelope import Role
from switchtower.jobs import ALERTS, REFUSALS
from switchtower.messages import Envelope, Message, now_ms
from switchtower.queues import QUEUE_OF, step_id, unacked_keys
from tests.support.harness import Harness
from tests.support.wait import until

MINUTE_MS = 60_000


def sealed(line: Harness, message: Message, wire: str, role: Role = Role.CLIENT, expires: int = 0) -> Envelope:
    """The message in a good envelope for the station."""
    expires = expires or now_ms() + MINUTE_MS
    return line.signer(role).seal(message, wire, step_id(message.job, wire), expires)


def push(
    line: Harness, wire: str, *args: Any, identity: str, queue: str = "", kwargs: dict[str, Any] | None = None
) -> None:
    """Publish a task message with any arguments at all."""
    line.client.app.send_task(
        wire, args=args, kwargs=kwargs, task_id=identity, queue=queue or QUEUE_OF[wire], argsrepr="(…)", kwargsrepr="{}"
    )


def push_envelope(line: Harness, wire: str, envelope: Envelope, queue: str = "") -> None:
    """Publish an envelope under the id that it was sealed for."""
    push(line, wire, envelope.model_dump(), identity=envelope.id, queue=queue)


def refusals(line: Harness) -> dict[str, int]:
    """How many messages were refused, by the name of the error."""
    return {name: int(count) for name, count in line.redis.hgetall(REFUSALS).items()}


def alerts(line: Harness) -> list[dict[str, Any]]:
    """The alerts so far, oldest first."""
    return [json.loads(fields["e"]) for _, fields in line.redis.xrange(ALERTS)]


def unacked(line: Harness, kind: str) -> int:
    """How many messages the workers of a kind have taken and not acknowledged."""
    keys = unacked_keys(kind)
    return line.redis.hlen(keys["unacked_key"]) + line.redis.zcard(keys["unacked_index_key"])


def settled(line: Harness, kind: str) -> bool:
    """Whether the queue of a kind of worker is empty, and nothing that was taken from it is open."""
    return not line.redis.llen(kind) and not unacked(line, kind)


def wait_refused(line: Harness, before: dict[str, int], name: str, kind: str) -> None:
    """Until exactly one more message was refused, under this name, and acknowledged."""
    after = until(lambda: refusals(line) != before and refusals(line), f"a refusal: {name}")
    assert after == before | {name: before.get(name, 0) + 1}, line.logs()
    until(lambda: settled(line, kind), f"an acknowledgement on {kind}")


def states(line: Harness, job: str) -> list[str]:
    """The states that a job went through, as its events tell."""
    return [str(event.state) for event in line.client.ledger.events(job) if event.state]
