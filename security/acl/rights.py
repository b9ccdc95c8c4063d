"""What the parts of a process need on the broker: a worker of kombu's, the ledger, the flag, results, and so on.

What each of them sends was recorded with MONITOR on a running line. Scripts run with their caller's rights: each
command in a script is judged by itself, so `eval` opens nothing that is not open anyway.
"""

from __future__ import annotations

from security.acl.grants import Grant, both, channel, grant, reading, writing
from security.lockdown.places import CONTROLLERS, LEADER, RELEASES, REQUESTS, answer_key
from switchtower.jobs import (
    ALERTS,
    AUDIT,
    DEAD,
    DUE,
    FINISHED,
    FLAG,
    FLAG_CHANNEL,
    FLAG_EPOCH,
    REFUSALS,
    bell_key,
    children_key,
    events_key,
    job_key,
)
from switchtower.queues import key, unacked_keys
from switchtower.registry import MODELS, order_key

JOBS = job_key("*")
META = key("celery", "celery-task-meta-*")
"""Celery's results: sealed answers, and the errors of those that ended otherwise."""
CHORDS = key("celery", "celery-taskset-meta-*")
VAULTS = key("vault", "*")
PERMISSIONS = key("permissions", "*")
DECISIONS = key("permissions", "decision", "*")

BINDING = "_kombu.binding."
BOUND = "_kombu.binding_permanent."
DEADLINES = "_kombu.binding_deadlines"
PIDBOX = "celery.pidbox"
REPLIES = "*.reply.celery.pidbox"
EVENTS = "celeryev"
_EXPIRING = tuple(f"{BINDING}{exchange}" for exchange in (PIDBOX, f"reply.{PIDBOX}", EVENTS))
"""The binding tables that kombu's sweep may remove."""

CONNECTION = (
    grant("auth hello ping select multi exec discard unwatch time client|setinfo client|setname"),
    grant("eval evalsha script|load script|exists", both("*")),
)
"""What every client of Redis says, and the scripts; the rights of the commands in them are asked for one by one."""


def priorities(queue: str) -> tuple[str, str]:
    """A queue's key, and those of its priorities (kombu parts them by two control characters)."""
    return queue, f"{queue}??[0-9]"


def consuming(queue: str) -> list[Grant]:
    """Taking messages from a queue, and giving them back."""
    keys = [both(name) for name in priorities(queue)]
    return [grant("brpop", *keys, takes=True), grant("lpush rpush llen", *keys), *_declaring(queue)]


def publishing(queue: str) -> list[Grant]:
    """Putting messages into a queue."""
    keys = [writing(name) for name in priorities(queue)]
    return [grant("lpush llen", *keys), *_declaring(queue)]


def _declaring(queue: str) -> list[Grant]:
    return [
        grant("sadd", writing(BINDING + queue), writing(BOUND + queue)),
        grant("smembers", reading(BINDING + queue)),
    ]


def holding(role: str) -> list[Grant]:
    """The transport's book of what a kind of worker has taken and not acknowledged."""
    names = unacked_keys(role)
    held, index, mutex = (names[f"unacked_{part}key"] for part in ("", "index_", "mutex_"))
    return [
        grant("hset hdel hget watch", both(held)),
        grant("zadd zrem zrange", both(index)),
        grant("set get del", both(mutex)),
    ]


def listening(role: str, db: int) -> list[Grant]:
    """Hearing Celery's remote control and answering it; a worker's own box begins with its kind's name."""
    return [
        grant("psubscribe punsubscribe", channel(f"/{db}.{PIDBOX}")),
        grant("llen del pexpire", both(f"{role}*@*.{PIDBOX}*")),
        grant("lpush", writing(f"{REPLIES}*")),
        grant("smembers", reading(f"{BINDING}reply.{PIDBOX}")),
        *_expiring(PIDBOX),
    ]


def _expiring(exchange: str) -> list[Grant]:
    """Keeping a binding that runs out, and sweeping those that have."""
    table = writing(BINDING + exchange)
    return [
        grant("sadd srem", table, writing(BOUND + exchange)),
        grant("zadd zrem zrangebyscore", both(DEADLINES)),
        grant("exists", reading(f"{BOUND}*")),
        grant("del", *map(writing, _EXPIRING)),
    ]


def commanding(db: int) -> list[Grant]:
    """Asking workers by Celery's remote control, and hearing their replies."""
    box = both(f"{REPLIES}*")
    return [
        grant("publish", channel(f"/{db}.{PIDBOX}")),
        grant("brpop lpush llen del pexpire", box),
        *_expiring(f"reply.{PIDBOX}"),
    ]


def telling(db: int) -> list[Grant]:
    """Telling monitors what happens; hearing the heartbeat of one's own kind, by which a container knows its health."""
    heartbeat = channel(f"/{db}.{EVENTS}/worker.heartbeat")
    return [grant("publish", channel(f"/{db}.{EVENTS}/*")), grant("subscribe unsubscribe", heartbeat)]


def watching(db: int) -> list[Grant]:
    """Hearing what workers tell monitors."""
    queue = both(f"{EVENTS}.*")
    return [
        grant("psubscribe punsubscribe", channel(f"/{db}.{EVENTS}/*")),
        grant("llen del pexpire", queue),
        *_expiring(EVENTS),
    ]


def results() -> list[Grant]:
    """Keeping Celery's results, and counting the parts of chords."""
    return [
        grant("get set setex", both(META)),
        grant("publish", channel(META)),
        grant("zadd zcount zrange rpush llen lrange sadd sismember expire get set exists del", both(CHORDS)),
    ]


FLAG_READING = (
    grant("get mget exists", reading(FLAG), reading(FLAG_EPOCH)),
    grant("subscribe unsubscribe", channel(FLAG_CHANNEL)),
)
RAISING = (grant("get set", both(FLAG), both(FLAG_EPOCH)), grant("publish", channel(FLAG_CHANNEL)))
"""Anyone may raise the lockdown. It cannot be lifted so: what is written there counts for its seal alone."""

AUDITED = grant("xadd", writing(AUDIT))
ALERTING = (grant("xadd", writing(ALERTS)), grant("hincrby", both(REFUSALS)))

LEDGER = (
    grant("hmget hget hgetall exists", reading(JOBS)),
    grant("hset hdel expire xadd", writing(JOBS)),
    grant("hincrby", both(JOBS)),
    grant("rpush", writing(bell_key("*"))),
    grant("zadd zrem", writing(DUE)),
    grant("xadd", writing(FINISHED), writing(DEAD)),
)
"""A step's life in the ledger: claiming, renewing, handing on, handing back, ending."""

SUBMITTING = (
    grant("hmget hget hgetall exists", reading(JOBS)),
    grant("hset hdel expire xadd", writing(JOBS)),
    grant("rpush", writing(bell_key("*"))),
    grant("sadd smembers", both(children_key("*"))),
    grant("xread", reading(events_key("*"))),
    grant("blmove", both(bell_key("*"))),
    grant("get set", both(key("idempotency", "*"))),
    grant("zadd zrem", writing(DUE)),
    grant("xadd", writing(FINISHED)),
    grant("hgetall", reading(MODELS)),
)
"""Handing jobs in, watching and cancelling them: by their ids, for nothing lets a client list those of others."""

CANVASES = (
    grant("get mget", reading(META)),
    grant("subscribe unsubscribe", channel(META)),
    grant("set setex get del", both(CHORDS)),
)
"""Waiting for a chain, a group or a chord by Celery's own means."""

LOOKING = (
    grant("xlen", reading(FINISHED), reading(DEAD), reading(AUDIT)),
    grant("zcard", reading(DUE)),
    grant("hgetall", reading(REFUSALS), reading(key("audit", "writer"))),
    grant("xrevrange", reading(DEAD), reading(RELEASES)),
    grant("get exists", reading(LEADER)),
    grant("zrange", reading(CONTROLLERS)),
    grant("exists", reading(f"{BINDING}*")),
)
"""How the line is doing: counts, refusals, dead letters, who controls."""

RELEASING = (
    grant("rpush ltrim pexpire", writing(REQUESTS)),
    grant("blpop", both(answer_key("*"))),
    grant("publish", channel(FLAG_CHANNEL)),
)
"""Asking the controller to release a lockdown."""

CONTROLLING = (
    grant("get mget set exists", both(FLAG), both(FLAG_EPOCH)),
    grant("get set del", both(LEADER)),
    grant("zadd zrem zremrangebyscore zrange", both(CONTROLLERS)),
    grant("lpop", both(REQUESTS)),
    grant("rpush expire", writing(answer_key("*"))),
    grant("xadd", writing(RELEASES), writing(AUDIT)),
    grant("xread", reading(ALERTS)),
    grant("xlen", reading(AUDIT)),
    grant("publish subscribe unsubscribe", channel(FLAG_CHANNEL)),
    grant("info"),
)
"""Holding the line open by a lease, and answering those who ask for a release."""

AUDITING = (
    grant("@stream", both(AUDIT)),
    grant("@hash", both(key("audit", "writer"))),
)
"""Taking events from the audit's stream once they are in the database."""

DECIDING = (grant("@string @sortedset @stream watch del pexpire pexpireat", both(PERMISSIONS)),)
"""Questions, answers and grants of the permission manager; all of them count for their seals alone."""

ASKING = (grant("get", reading(DECISIONS)),)
HIDING = (grant("set", writing(VAULTS)),)
REVEALING = (grant("get", reading(VAULTS)),)
ANNOUNCING = (grant("hset hdel hgetall", both(MODELS)),)
ROUTING = (grant("hgetall", reading(MODELS)),)
ORDERING = (grant("set", writing(order_key("*"))),)
OBEYING = (grant("get", reading(order_key("*"))),)
"""An operator's order to load or unload a model; it counts for its seal alone."""
