"""Wire names and queues: the names that stand in messages, never module paths."""

from __future__ import annotations

import uuid

SCREEN = "switchtower.screen"
ROUTE = "switchtower.route"
GENERATE = "switchtower.generate."
"""What the wire names of all generators begin with."""
GENERATE_LOCAL = f"{GENERATE}local"
REVIEW = "switchtower.review"
TRAIN = "switchtower.train"
RESULT = "switchtower.result"
LOCKDOWN = "switchtower.lockdown"
MODEL_STATE = "switchtower.model.state"
AUDITED = "switchtower.audit"

SEALED = "(<sealed>,)"
"""What Celery shows in an envelope's place; without it, it would write the envelope into the headers again."""

GUARDRAIL = "guardrail"
ROUTER = "router"
GPU = "gpu"
TRAINING = "train"
UPKEEP = "upkeep"

QUEUES = (GUARDRAIL, ROUTER, GPU, TRAINING, UPKEEP)

QUEUE_OF = {SCREEN: GUARDRAIL, ROUTE: ROUTER, GENERATE_LOCAL: GPU, REVIEW: GUARDRAIL, TRAIN: TRAINING}

CLOUD = "cloud"
"""What the queues of all cloud providers begin with."""

PREFIX = "switchtower:"


def is_own(queue: str) -> bool:
    """Whether a queue is the line's."""
    return queue in QUEUES or queue.split(".", maxsplit=1)[0] == CLOUD


def key(*parts: str) -> str:
    """A Redis key of ours."""
    return PREFIX + ":".join(parts)


def step_id(job: str, wire: str) -> str:
    """The Celery message id of a job's step: the same for everyone who computes it (RFC 9562, version 5)."""
    return str(uuid.uuid5(uuid.UUID(job), wire))


def unacked_keys(role: str) -> dict[str, str]:
    """The transport's book-keeping keys, one set per role, so that no role can restore another's messages."""
    return {
        "unacked_key": key("unacked", role),
        "unacked_index_key": key("unacked", role, "index"),
        "unacked_mutex_key": key("unacked", role, "mutex"),
    }
