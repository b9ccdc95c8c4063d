"""Who may do what on the broker: one row for each role, as the line's own table says who hands work to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from security.acl import rights
from security.acl.grants import Grant, grant, reading, writing
from switchtower.jobs import DUE
from switchtower.queues import CLOUD, GPU, GUARDRAIL, ROUTER, TRAINING, UPKEEP, key

CLIENT, OPERATOR, MONITOR = "client", "operator", "monitor"
CONTROLLER, AUDITOR = "controller", "auditor"
ADMIN, PROBE = "admin", "probe"

CLOUDS = f"{CLOUD}.*"
SWEEPING = key("sweeping")


@dataclass(frozen=True)
class Line:
    """A deployment as its broker sees it: the number of its database, and the queues of its own."""

    db: int = 0
    extra_queues: Sequence[str] = ()


def roles(line: Line) -> dict[str, list[Grant]]:
    """The rights of every role; a queue of the deployment's own makes a role of its name."""
    own = [right for queue in line.extra_queues for right in rights.publishing(queue)]
    table = {
        CLIENT: _client(),
        GUARDRAIL: [*_station(line, GUARDRAIL, ROUTER), *rights.REVEALING, *rights.DECIDING, *own],
        ROUTER: [*_station(line, ROUTER, GPU, CLOUDS), *rights.ROUTING, *own],
        GPU: [*_generator(line, GPU), *rights.OBEYING, *own],
        CLOUD: [*_generator(line, CLOUD, CLOUDS), *own],
        TRAINING: _station(line, TRAINING),
        UPKEEP: _upkeep(line),
        CONTROLLER: [*rights.CONNECTION, *rights.CONTROLLING],
        AUDITOR: [*rights.CONNECTION, *rights.AUDITING],
        OPERATOR: _operator(line),
        MONITOR: _monitor(line),
        PROBE: [grant("ping")],
    }
    return table | {queue: _foreign(line, queue) for queue in line.extra_queues}


def workers(line: Line) -> list[str]:
    """The roles that take messages from queues: those that the backstop stops."""
    return [role for role, granted in roles(line).items() if any(one.takes for one in granted)]


def _client() -> list[Grant]:
    handing_in = [*rights.SUBMITTING, *rights.publishing(GUARDRAIL), *rights.publishing(TRAINING)]
    return [*rights.CONNECTION, *handing_in, *rights.CANVASES, *rights.FLAG_READING, *rights.RAISING]


def _worker(line: Line, role: str, queue: str) -> list[Grant]:
    """What Celery's worker needs, whatever its tasks are."""
    transport = [*rights.consuming(queue), *rights.holding(role), *rights.listening(role, line.db)]
    return [*rights.CONNECTION, *transport, *rights.telling(line.db)]


def _station(line: Line, role: str, *following: str, queue: str = "") -> list[Grant]:
    """A worker of the line: its own queue, those that it hands work to, the ledger, and the flag."""
    forward = [right for one in following for right in rights.publishing(one)]
    common = [*rights.LEDGER, *rights.results(), *rights.FLAG_READING, *rights.RAISING]
    return [*_worker(line, role, queue or role), *forward, *common, rights.AUDITED, *rights.ALERTING]


def _generator(line: Line, role: str, queue: str = "") -> list[Grant]:
    """An answer goes to the guardrail, and a request for which there is too little memory back to the router."""
    station = _station(line, role, GUARDRAIL, ROUTER, queue=queue)
    return [*station, *rights.ANNOUNCING, *rights.HIDING, *rights.ASKING]


def _upkeep(line: Line) -> list[Grant]:
    """It publishes lost messages again, wherever they were going, and sees when the oldest one was sealed."""
    queues = (GUARDRAIL, ROUTER, GPU, CLOUDS, TRAINING)
    looking = [
        grant("lindex", *(reading(name) for queue in queues for name in rights.priorities(queue))),
        grant("zrange", reading(DUE)),
        grant("set", writing(SWEEPING)),
    ]
    return [*_station(line, UPKEEP, *queues), *looking]


def _operator(line: Line) -> list[Grant]:
    """All that a client may, and the whole of the command line."""
    queues = [grant("llen", *(reading(queue) for queue in (GUARDRAIL, ROUTER, GPU, CLOUDS, TRAINING, UPKEEP)))]
    deciding = [*rights.LOOKING, *rights.RELEASING, *rights.DECIDING, *rights.ORDERING, rights.AUDITED]
    return [*_client(), *queues, *deciding, *rights.commanding(line.db), *rights.watching(line.db)]


def _monitor(line: Line) -> list[Grant]:
    """Flower: events, remote control as far as our workers obey it, and the lengths of queues."""
    queues = (GUARDRAIL, ROUTER, GPU, CLOUDS, TRAINING, UPKEEP, *line.extra_queues)
    lengths = grant("llen", *(reading(name) for queue in queues for name in rights.priorities(queue)))
    seeing = [*rights.commanding(line.db), *rights.watching(line.db)]
    return [*rights.CONNECTION, *seeing, *rights.holding(MONITOR), lengths]


def _foreign(line: Line, queue: str) -> list[Grant]:
    """A worker of the deployment's own, for chord bodies and links: no ledger, no job, no vault."""
    return [*_worker(line, queue, queue), *rights.publishing(queue), *rights.results()]
