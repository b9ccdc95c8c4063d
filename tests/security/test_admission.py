"""The door: messages that somebody puts on a queue by hand reach no task body, whatever they are."""

from __future__ import annotations

import base64
import json

import pytest

from switchtower import Capability, State, UserRequest
from switchtower.envelope import Role, Signer, payload_hash
from switchtower.jobs import job_key
from switchtower.ledger import Submission
from switchtower.messages import Completion, Envelope, RoutingDecision, Screened, new_identity, now_ms
from switchtower.models import Action, ModelCard, Provider, RiskLevel, Surface, Verdict
from switchtower.queues import GENERATE_LOCAL, GPU, GUARDRAIL, QUEUE_OF, REVIEW, ROUTE, ROUTER, SCREEN, step_id
from tests.support.post import (
    MINUTE_MS,
    alerts,
    push,
    push_envelope,
    refusals,
    sealed,
    settled,
    states,
    wait_refused,
)
from tests.support.wait import until

TOLD = "Rumpelstilzchen is my name"
PASSED = Verdict(action=Action.ALLOW, risk=RiskLevel.LOW, surface=Surface.INPUT, pack="none")
CARD = ModelCard(name="echo", provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}))


@pytest.fixture
def request_():
    return UserRequest(prompt=TOLD)


@pytest.fixture(autouse=True)
def nothing_runs_and_nothing_is_told(line, request_):
    """After each test: the job never ran, an alert names no text, the logs hold none, and the line works."""
    yield
    assert "running" not in states(line, request_.job)
    assert TOLD not in json.dumps(alerts(line))
    for path in (line.settings.home / "logs").glob("*.log"):
        assert TOLD not in path.read_text(), path
    job = line.client.submit("Still there?")
    assert line.client.result(job, timeout=30).text == "Still there?", line.logs()


def altered(envelope, **fields):
    return envelope.model_dump() | fields


def reseal(line, envelope, **head):
    """The envelope with another head or payload under a good seal of the client."""
    signer = line.signer(Role.CLIENT)
    fields = envelope.model_dump(exclude={"sig", "payload"}) | head
    payload = fields.pop("payload", envelope.payload)
    fields["hash"] = payload_hash(payload)
    signed = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return fields | {"payload": payload, "sig": base64.b64encode(signer.key.sign(signed)).decode()}


# -- past the guardrail ---------------------------------------------------------------------------


def screened(request):
    return Screened[UserRequest](subject=request, verdict=PASSED, **request.heirloom())


def decision(line, request, role):
    """A routing decision around a proof that the role sealed."""
    proof = sealed(line, screened(request), ROUTE, role)
    return RoutingDecision(screened=proof, card=CARD, strategy="local_first", reason="mine", **request.heirloom())


@pytest.mark.parametrize("role", [Role.CLIENT, Role.GUARDRAIL, Role.GPU, Role.OPERATOR])
def test_nobody_but_the_router_reaches_the_model(line, request_, role):
    before = refusals(line)
    push_envelope(line, GENERATE_LOCAL, sealed(line, decision(line, request_, Role.GUARDRAIL), GENERATE_LOCAL, role))
    wait_refused(line, before, "WrongRole", GPU)
    assert alerts(line)[-1]["source"] == GENERATE_LOCAL
    assert alerts(line)[-1]["summary"].startswith("WrongRole")


def test_the_routers_own_seal_is_not_enough_for_a_job_that_was_never_handed_in(line, request_):
    before = refusals(line)
    push_envelope(
        line, GENERATE_LOCAL, sealed(line, decision(line, request_, Role.CLIENT), GENERATE_LOCAL, Role.ROUTER)
    )
    wait_refused(line, before, "Replayed", GPU)


@pytest.mark.parametrize(
    ("wire", "role"),
    [
        (SCREEN, Role.GUARDRAIL),
        (ROUTE, Role.CLIENT),
        (ROUTE, Role.ROUTER),
        (REVIEW, Role.CLIENT),
        (REVIEW, Role.ROUTER),
    ],
)
def test_no_station_takes_work_from_the_wrong_hands(line, request_, wire, role):
    messages = {
        SCREEN: request_,
        ROUTE: screened(request_),
        REVIEW: Completion(text=TOLD, model="echo", finish_reason="stop", **request_.heirloom()),
    }
    before = refusals(line)
    push_envelope(line, wire, sealed(line, messages[wire], wire, role))
    wait_refused(line, before, "WrongRole", QUEUE_OF[wire])


# -- retargeted: what Celery's own `auth` serializer lets through ---------------------------------


def test_a_message_whose_task_header_was_changed(line, request_):
    """The body is untouched and well signed; only the header names another task of the same worker."""
    envelope = sealed(line, request_, SCREEN)
    before = refusals(line)
    push(line, REVIEW, envelope.model_dump(), identity=envelope.id)
    wait_refused(line, before, "Retargeted", GUARDRAIL)


def test_a_message_under_another_id(line, request_):
    before = refusals(line)
    push(line, SCREEN, sealed(line, request_, SCREEN).model_dump(), identity=new_identity())
    wait_refused(line, before, "WrongIdentity", GUARDRAIL)


def test_a_message_for_a_task_that_the_worker_does_not_have(line, request_):
    before = refusals(line)
    push(line, "os.system", TOLD, identity=new_identity(), queue=GPU)
    wait_refused(line, before, "Retargeted", GPU)


def test_a_message_in_the_queue_of_another_kind(line, request_):
    before = refusals(line)
    push_envelope(line, SCREEN, sealed(line, request_, SCREEN), queue=ROUTER)
    wait_refused(line, before, "Retargeted", ROUTER)


# -- every kind of bad envelope -------------------------------------------------------------------

STRANGER = Signer.create(Role.CLIENT)

BAD = {
    "TamperedPayload": lambda line, good: altered(good, payload=good.payload.replace("name", "game")),
    "ForgedEnvelope": lambda line, good: altered(good, exp=good.exp + 1),
    "UnknownKey": lambda line, good: altered(good, kid=STRANGER.kid),
    "UnknownVersion": lambda line, good: altered(good, v=2),
    "MalformedEnvelope": lambda line, good: altered(good, extra=1),
    "OversizedEnvelope": lambda line, good: altered(good, payload="x" * 1_100_000),
    "EnvelopeExpired": lambda line, good: reseal(line, good, exp=now_ms() - 1),
    "EnvelopeFromFuture": lambda line, good: reseal(line, good, iat=now_ms() + 2 * MINUTE_MS),
    "WrongRole": lambda line, good: reseal(line, good, role="operator"),
    "InvalidMessage": lambda line, good: reseal(line, good, payload=good.payload.replace("prompt", TOLD)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_envelope_is_refused_under_its_name(line, request_, name):
    good = sealed(line, request_, SCREEN)
    before = refusals(line)
    push(line, SCREEN, BAD[name](line, good), identity=good.id)
    wait_refused(line, before, name, GUARDRAIL)
    assert alerts(line)[-1]["summary"].startswith(f"{name}: ")


def test_a_message_of_an_unknown_version_within_a_good_envelope(line, request_):
    good = sealed(line, request_, SCREEN)
    before = refusals(line)
    push(line, SCREEN, reseal(line, good, payload=good.payload.replace('"v":1', '"v":9')), identity=good.id)
    wait_refused(line, before, "UnknownVersion", GUARDRAIL)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {}),
        ([TOLD], {}),
        ([None], {}),
        ([[1]], {}),
        (["good", "good"], {}),
        (["good"], {"envelope": 1}),
        (["good"], {TOLD: "smuggled"}),
        ([], {"envelope": "good"}),
    ],
)
def test_anything_but_one_envelope_is_malformed(line, request_, args, kwargs):
    good = sealed(line, request_, SCREEN)
    filled = [good.model_dump() if arg == "good" else arg for arg in args]
    named = {name: good.model_dump() if value == "good" else value for name, value in kwargs.items()}
    before = refusals(line)
    push(line, SCREEN, *filled, identity=good.id, kwargs=named)
    wait_refused(line, before, "MalformedEnvelope", GUARDRAIL)


def publish_raw(line, body, content_type="application/json", **headers):
    """A message of any bytes under any headers."""
    with line.client.app.producer_pool.acquire(block=True) as producer:
        encoding = {"content_type": content_type, "content_encoding": "utf-8"}
        producer.publish(body, exchange="", routing_key=GUARDRAIL, headers=headers, **encoding)


@pytest.mark.parametrize("body", [b"not json", b"{}", b"[]", b"null", b'"x"', b"[1,2,3]", b"[[],{}]", b"\xff\xfe"])
def test_a_body_that_is_no_task_at_all(line, request_, body):
    before = refusals(line)
    publish_raw(line, body, task=SCREEN, id=new_identity(), lang="py")
    wait_refused(line, before, "MalformedEnvelope", GUARDRAIL)


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/x-yaml", "text/plain"])
def test_no_other_serialization_is_opened(line, request_, content_type):
    before = refusals(line)
    publish_raw(line, b"cos\nsystem\n(S'true'\ntR.", content_type, task=SCREEN, id=new_identity(), lang="py")
    wait_refused(line, before, "MalformedEnvelope", GUARDRAIL)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"task": 1},
        {"task": None},
        {"task": []},
        {"task": SCREEN},
        {"task": SCREEN, "id": 1},
        {"task": SCREEN, "id": "x", "eta": "soon"},
        {"task": SCREEN, "id": "x", "expires": {}},
        {"task": SCREEN, "id": "x", "timelimit": 1},
        {"task": SCREEN, "id": "x", "retries": "many", "root_id": []},
    ],
)
def test_headers_that_make_no_sense(line, request_, headers):
    """However odd a header is, the message is refused and the worker lives."""
    body = json.dumps([[sealed(line, request_, SCREEN).model_dump()], {}, {}]).encode()
    before = refusals(line)
    publish_raw(line, body, **headers)
    until(lambda: refusals(line) != before, "a refusal")
    until(lambda: settled(line, GUARDRAIL), "an acknowledgement")


@pytest.mark.parametrize("raw", ["not json", "{}", "[]", "null", '{"body": "x"}', '{"properties": {}}'])
def test_an_entry_of_the_queue_that_is_no_message(line, request_, raw):
    """Not even Celery wrote this: it costs the worker a reconnection at most."""
    line.redis.lpush(GUARDRAIL, raw)
    until(lambda: settled(line, GUARDRAIL), "the entry to be gone")


# -- replays --------------------------------------------------------------------------------------


def test_the_message_of_a_job_that_has_finished(line, request_):
    """The same bytes under the same id once more: the job is over, nothing runs, nothing is answered."""
    other = UserRequest(prompt="Once")
    submission = line.client._submission(other)
    line.client.ledger.submit(submission)
    push_envelope(line, SCREEN, submission.envelope)
    line.client.result(other.job, timeout=30)
    events, before = line.client.ledger.events(other.job), refusals(line)
    push_envelope(line, SCREEN, submission.envelope)
    wait_refused(line, before, "Replayed", GUARDRAIL)
    assert line.client.ledger.events(other.job) == events


def test_another_message_for_a_job_that_is_under_way(line, request_):
    """Sealing the same request again gives another nonce: it is not the message that the ledger knows."""
    other = UserRequest(prompt="Twice")
    line.client.ledger.submit(line.client._submission(other))
    before = refusals(line)
    push_envelope(line, SCREEN, sealed(line, other, SCREEN))
    wait_refused(line, before, "Replayed", GUARDRAIL)
    line.client.cancel(other.job)


def test_no_refused_message_leaves_a_record(line, request_):
    good = sealed(line, request_, SCREEN)
    before = refusals(line)
    push(line, SCREEN, altered(good, exp=good.exp + 1), identity=step_id(request_.job, SCREEN))
    wait_refused(line, before, "ForgedEnvelope", GUARDRAIL)
    assert not line.redis.exists(job_key(request_.job))
    until(lambda: all(settled(line, kind) for kind in (GUARDRAIL, ROUTER, GPU)), "every message to be acknowledged")


def test_the_job_of_a_message_that_its_own_client_got_wrong_ends_at_once(line, request_):
    """The ledger waits for this very envelope: published again and again, it would be refused until the deadline."""
    good = sealed(line, request_, SCREEN)
    wrong = Envelope(**reseal(line, good, payload=good.payload.replace('"v":1', '"v":9')))
    line.client.ledger.submit(Submission(request_, wrong))
    before = refusals(line)
    push_envelope(line, SCREEN, wrong)
    until(lambda: line.client.status(request_.job).state.terminal, "the end of the job")
    record = line.client.status(request_.job)
    assert (record.state, record.error) == (State.FAILED, "UnknownVersion")
    assert refusals(line) == before | {"UnknownVersion": before.get("UnknownVersion", 0) + 1}
