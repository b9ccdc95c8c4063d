"""What each user may not do, as the server itself judges it: beyond its own work, next to nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from security.acl import passwords
from security.acl.roles import ADMIN, AUDITOR, CLIENT, CONTROLLER, MONITOR, OPERATOR, PROBE, Line, roles, workers
from security.acl.server import apply, denials
from security.acl.users import users
from security.lockdown.places import LEADER, REQUESTS, answer_key
from switchtower.envelope import Role
from switchtower.jobs import AUDIT, DEAD, DUE, FINISHED, FLAG, FLAG_CHANNEL, events_key, job_key
from switchtower.queues import (
    GPU,
    GUARDRAIL,
    QUEUE_OF,
    QUEUES,
    ROUTE,
    ROUTER,
    SCREEN,
    TRAIN,
    TRAINING,
    UPKEEP,
    key,
    unacked_keys,
)
from switchtower.registry import MODELS, order_key
from tasks.kinds import KINDS
from tasks.line import GENERATORS, LINE
from workers.embedded import server_class

EXTRA, CLOUD_QUEUE = "collector", "cloud.openai"
HERE = Line(extra_queues=(EXTRA,))
ROLES = list(roles(HERE))
STATIONS = {GUARDRAIL, ROUTER, GPU, "cloud"}
HANDING_IN = {CLIENT, OPERATOR}
LEDGER = {*STATIONS, TRAINING, UPKEEP}
WORKERS = {*LEDGER, EXTRA}
RAISERS = {CLIENT, OPERATOR, CONTROLLER, *LEDGER}
JOB = "01900000-0000-7000-8000-000000000001"


NAMES = [user.name for user in users(HERE)]


@dataclass(frozen=True)
class Server:
    """A server of our own, and its passwords."""

    port: int
    known: dict[str, str]

    def user(self, name: str) -> Redis:
        """A connection as this user."""
        return Redis(port=self.port, username=name, password=self.known[name], decode_responses=True)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all users, and the default one off."""
    folder = tmp_path_factory.mktemp("rights")
    made = server_class()(data_dir=folder / "data")
    made.start()
    server = Server(made.port, passwords.create(folder / "acl", f"redis://localhost:{made.port}/0", NAMES))
    with Redis(port=made.port) as opened:
        apply(opened, HERE, server.known)
    yield server
    made.stop()


@pytest.fixture(scope="module")
def server(guarded: Server) -> Iterator[Redis]:
    """The administrator's connection."""
    with guarded.user(ADMIN) as admin:
        yield admin


def may(server: Redis, role: str, *command: str) -> bool:
    """Whether the server would let the user do this (`ACL DRYRUN`, which does nothing)."""
    return server.execute_command("ACL DRYRUN", role, *command) in ("OK", b"OK", True)


def who_may(server: Redis, *command: str) -> set[str]:
    return {role for role in ROLES if may(server, role, *command)}


# -- queues: as the line's own table has them -------------------------------------------------------


def consumers(queue: str) -> set[str]:
    """The kinds of worker that read a queue."""
    known = {kind.name: kind.queues for kind in KINDS.values()} | {"cloud": (CLOUD_QUEUE,), EXTRA: (EXTRA,)}
    return {name for name, queues in known.items() if queue in queues}


def producers(queue: str) -> set[str]:
    """Who hands work to a queue: the stations before it, whoever gives back, upkeep, and clients to the first ones."""
    following = {GUARDRAIL: {QUEUE_OF[ROUTE]}, ROUTER: {*(QUEUE_OF[wire] for wire in GENERATORS.values()), CLOUD_QUEUE}}
    after = {QUEUE_OF[LINE[wire].next] for wire in GENERATORS.values()}
    following |= {role: {*after, ROUTER} for role in (GPU, "cloud")}  # to the router: what a model is too small for
    found = {role for role, queues in following.items() if queue in queues} | consumers(queue) | {UPKEEP}
    return found | (HANDING_IN if queue in {QUEUE_OF[SCREEN], QUEUE_OF[TRAIN]} else set())


@pytest.mark.parametrize("queue", [*QUEUES, CLOUD_QUEUE])
def test_a_queue_is_read_by_its_own_kind_and_filled_by_those_before_it(server, queue):
    assert who_may(server, "BRPOP", queue, "1") == consumers(queue)
    assert who_may(server, "LPUSH", queue, "message") == producers(queue)


def test_a_queue_of_the_deployments_own_is_filled_by_the_stations(server):
    assert who_may(server, "BRPOP", EXTRA, "1") == {EXTRA}
    assert who_may(server, "LPUSH", EXTRA, "message") == {EXTRA, *STATIONS}


@pytest.mark.parametrize("queue", [*QUEUES, CLOUD_QUEUE, EXTRA])
@pytest.mark.parametrize(
    "command",
    [
        *(
            "RPOP",
            "LPOP",
            "BLPOP {} 1",
            "LRANGE {} 0 -1",
            "DEL",
            "UNLINK",
            "LTRIM {} 1 0",
            "LSET {} 0 x",
            "SORT",
            "DUMP",
        ),
        *("LMOVE {} other LEFT RIGHT", "RPOPLPUSH {} other", "RENAME {} other", "COPY {} other"),
    ],
)
def test_a_queue_is_read_in_no_other_way(server, queue, command):
    words = (command if "{}" in command else f"{command} {{}}").format(queue).split()
    assert who_may(server, *words) == set()


@pytest.mark.parametrize("kind", [*KINDS, "cloud", EXTRA])
def test_what_a_worker_holds_is_its_own_kinds(server, kind):
    names = unacked_keys(kind)
    assert who_may(server, "HGET", names["unacked_key"], "tag") == {kind}
    assert who_may(server, "HDEL", names["unacked_key"], "tag") == {kind}
    assert who_may(server, "ZRANGE", names["unacked_index_key"], "0", "-1") == {kind}
    assert who_may(server, "DEL", names["unacked_key"]) == set()


# -- what matters most ------------------------------------------------------------------------------

JEWELS = {
    "reading the audit": (f"XRANGE {AUDIT} - +", {AUDITOR}),
    "taking from the audit": (f"XDEL {AUDIT} 0-1", {AUDITOR}),
    "trimming the audit": (f"XTRIM {AUDIT} MAXLEN 0", {AUDITOR}),
    "deleting the audit": (f"DEL {AUDIT}", set()),
    "adding to the audit": (f"XADD {AUDIT} * e x", {*LEDGER, CONTROLLER, OPERATOR, AUDITOR}),
    "reading a vault": (f"GET {key('vault', JOB)}", {GUARDRAIL}),
    "filling a vault": (f"SET {key('vault', JOB)} x PX 1", {GPU, "cloud"}),
    "deleting a vault": (f"DEL {key('vault', JOB)}", set()),
    "deleting a job": (f"DEL {job_key(JOB)}", set()),
    "reading a job": (f"HGETALL {job_key(JOB)}", {*HANDING_IN, *LEDGER}),
    "changing a job": (f"HSET {job_key(JOB)} state done", {*HANDING_IN, *LEDGER}),
    "reading what a model writes": (f"XREAD STREAMS {events_key(JOB)} 0", HANDING_IN),
    "listing jobs": (f"ZRANGE {DUE} 0 -1", {UPKEEP}),
    "listing finished jobs": (f"XRANGE {FINISHED} - +", set()),
    "reading dead letters": (f"XREVRANGE {DEAD} + -", {OPERATOR}),
    "deleting the list of jobs": (f"DEL {DUE}", set()),
    "announcing a model": (f"HSET {MODELS} x y", {GPU, "cloud"}),
    "ordering a model about": (f"SET {order_key('base')} x", {OPERATOR}),
    "reading such an order": (f"GET {order_key('base')}", {GPU}),
    "taking such an order back": (f"DEL {order_key('base')}", set()),
    "raising": (f"SET {FLAG} locked", RAISERS),
    "deleting the flag": (f"DEL {FLAG}", set()),
    "leading": (f"SET {LEADER} me", {CONTROLLER}),
    "asking for a release": (f"RPUSH {REQUESTS} x", {OPERATOR}),
    "judging a release": (f"LPOP {REQUESTS}", {CONTROLLER}),
    "reading an answer": (f"BLPOP {answer_key(JOB)} 1", {OPERATOR}),
    "answering questions": (f"XADD {key('permissions', 'answer', JOB)} * e x", {GUARDRAIL, OPERATOR}),
    "granting": (f"SET {key('permissions', 'grant', JOB)} x", {GUARDRAIL, OPERATOR}),
    "reading a decision": (f"GET {key('permissions', 'decision', JOB)}", {GUARDRAIL, OPERATOR, GPU, "cloud"}),
    "commanding workers": ("PUBLISH /0.celery.pidbox x", {OPERATOR, MONITOR}),
    "telling of a lockdown": (f"PUBLISH {FLAG_CHANNEL} x", RAISERS),
    "hearing all of the channels": ("PSUBSCRIBE *", set()),
    "hearing of the line's events": ("PSUBSCRIBE /0.celeryev/*", {OPERATOR, MONITOR}),
    "rerouting a queue": ("SADD _kombu.binding.upkeep x", {UPKEEP}),
    "removing a route": ("SREM _kombu.binding.guardrail x", set()),
}


@pytest.mark.parametrize("what", JEWELS)
def test_only_these_may(server, what):
    command, allowed = JEWELS[what]
    assert who_may(server, *command.split()) == allowed


FORBIDDEN = """
CONFIG GET requirepass|CONFIG SET save x|CONFIG REWRITE|FLUSHALL|FLUSHDB|SWAPDB 0 1|KEYS *|SCAN 0|RANDOMKEY|DBSIZE
DEBUG SLEEP 1|SHUTDOWN|SAVE|BGSAVE|BGREWRITEAOF|REPLICAOF NO ONE|FAILOVER|MIGRATE h 1 k 0 1|RESTORE k 0 x|MODULE LIST
ACL LIST|ACL WHOAMI|ACL SETUSER me|ACL DELUSER gpu|ACL LOG|ACL GETUSER gpu|CLIENT LIST|CLIENT KILL TYPE normal
CLIENT PAUSE 1|CLIENT NO-EVICT on|CLIENT TRACKING on|MONITOR|SLOWLOG GET|LATENCY RESET|MEMORY USAGE k|OBJECT ENCODING k
SCRIPT FLUSH|SCRIPT KILL|FUNCTION LOAD x|FUNCTION FLUSH|FCALL f 0|PUBSUB CHANNELS|COMMAND COUNT|PSYNC x 0|CLUSTER INFO
SPUBLISH c x|SSUBSCRIBE c|GETDEL k|EXPIRE k 1|PERSIST k|TYPE k|SINTERSTORE a b|SORT k STORE b|PFCOUNT k|GEOADD k 1 1 x
"""


@pytest.mark.parametrize("command", [one for line in FORBIDDEN.split("\n") for one in line.split("|") if one])
def test_nobody_but_the_administrator_may(server, command):
    assert who_may(server, *command.split()) == set()
    assert may(server, ADMIN, *command.split())


def test_who_looks_after_memory_may_ask_for_it(server):
    assert who_may(server, "INFO", "memory") == {CONTROLLER}


def test_a_probe_may_ask_whether_the_server_lives_and_nothing_else(server):
    assert may(server, PROBE, "PING")
    assert len(roles(HERE)[PROBE]) == 1


def test_every_role_that_seals_and_every_kind_of_worker_has_a_user():
    assert {*Role, *KINDS} <= set(ROLES)


def test_the_backstop_knows_every_worker():
    assert set(workers(HERE)) == WORKERS


# -- with real credentials ----------------------------------------------------------------------------


@pytest.fixture
def stolen(guarded: Server) -> Iterator[Redis]:
    """A connection by the gpu worker's own credentials."""
    with guarded.user(GPU) as gpu:
        yield gpu


@pytest.mark.parametrize(
    "script",
    [
        f"return redis.call('XRANGE', '{AUDIT}', '-', '+')",
        f"return redis.call('RPOP', '{GUARDRAIL}')",
        f"return redis.call('GET', '{key('vault', JOB)}')",
        f"return redis.call('SET', '{LEADER}', 'me')",
        "return redis.call('CONFIG', 'GET', '*')",
        "return redis.call('KEYS', '*')",
    ],
)
def test_a_script_may_do_no_more_than_its_caller(stolen, script):
    with pytest.raises(ResponseError, match=r"ACL failure|not allowed"):
        stolen.eval(script, 0)


def test_what_was_denied_is_on_record(server, stolen):
    server.acl_log_reset()
    for forbidden in (lambda: stolen.brpop(GUARDRAIL, 1), lambda: stolen.config_get("*"), stolen.flushall):
        with pytest.raises(NoPermissionError):
            forbidden()
    assert {(one.user, one.what) for one in denials(server)} == {
        ("gpu", GUARDRAIL),
        ("gpu", "config|get"),
        ("gpu", "flushall"),
    }


def test_a_worker_can_push_its_events_out_of_the_audit_and_it_shows(server, stolen):
    """XADD trims on request. What was lost is known: the stream counts what was ever added."""
    server.delete(AUDIT)
    for number in range(3):
        stolen.xadd(AUDIT, {"e": str(number)})
    stolen.xadd(AUDIT, {"e": "mine"}, maxlen=0, approximate=False)
    told = server.xinfo_stream(AUDIT)
    assert (told["length"], told["entries-added"]) == (0, 4)


def test_a_password_is_changed_without_a_pause(guarded, server, tmp_path):
    def enters(password):
        with socket.create_connection(("localhost", guarded.port)) as line:
            line.sendall(f"AUTH {PROBE} {password}\r\n".encode())
            return line.recv(100).startswith(b"+OK")

    old, new = guarded.known, passwords.create(tmp_path, "redis://localhost/0", NAMES)
    tried = {name: new[name] if name == PROBE else old[name] for name in NAMES}
    assert (enters(old[PROBE]), enters(new[PROBE])) == (True, False)
    apply(server, HERE, tried, keep_old=True)
    assert (enters(old[PROBE]), enters(new[PROBE])) == (True, True)
    apply(server, HERE, tried)
    assert (enters(old[PROBE]), enters(new[PROBE])) == (False, True)
