"""What the auditor makes of a note: whose word counts for what, and what becomes of everything else."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.audit.events import AuditEvent
from security.audit.speakers import NOBODY, SPEAKERS, may_speak
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.messages import UserRequest, new_identity, now_ms
from switchtower.queues import AUDITED, SCREEN
from tests.support.trail import Keys, told

KEYS = Keys()
SECRET = "my password is Rumpelstilzchen"


@pytest.fixture(scope="module")
def reader():
    return KEYS.reader()


def facts(entry):
    return json.loads(entry.facts_text)


def test_a_sealed_event_is_told_as_it_was_sealed(reader):
    event = told(outcome="block", tenant="acme", user="ada", text_hash="ab" * 32, excerpt="a [name] said")
    entry = reader.read(KEYS.note(event))
    assert (entry.event, entry.job, entry.at) == (event.id, event.job, event.created)
    assert (entry.topic, entry.outcome, entry.actor) == ("verdict", "block", "switchtower.screen")
    assert (entry.tenant, entry.username, entry.text_hash) == ("acme", "ada", "ab" * 32)
    assert (entry.sealed_by, entry.kid) == ("guardrail", KEYS.signers[Role.GUARDRAIL].kid)
    assert facts(entry) == {"risk": "low", "rules": ["a", "b"]}


def test_white_space_around_a_seal_makes_no_second_note(reader):
    note = KEYS.note(told())
    again = json.dumps(json.loads(note), indent=3).encode()
    assert again != note
    assert reader.read(again).note_hash == reader.read(note).note_hash


def test_a_word_without_a_seal_is_nobodys(reader):
    entry = reader.read(KEYS.note(told("refusal", "ForgedEnvelope"), None))
    assert (entry.topic, entry.outcome) == ("refusal", "ForgedEnvelope")
    assert (entry.sealed_by, entry.kid, entry.seal) == (NOBODY, None, None)


def test_anyone_may_tell_of_a_raise_and_only_a_controller_of_anything_else(reader):
    for role in (None, *Role):
        assert reader.read(KEYS.note(told("lockdown", "locked"), role)).topic == "lockdown"
        opened = reader.read(KEYS.note(told("lockdown", "open"), role))
        assert opened.topic == ("lockdown" if role is Role.CONTROLLER else "refusal")


@pytest.mark.parametrize("topic", SPEAKERS)
@pytest.mark.parametrize("role", [None, *Role])
def test_who_has_no_say_in_a_topic_plants_nothing(reader, topic, role):
    event = told(topic, "released")
    entry = reader.read(KEYS.note(event, role))
    if may_speak(role or NOBODY, event):
        assert (entry.topic, entry.outcome, entry.sealed_by) == (topic, "released", role or NOBODY)
    else:
        assert (entry.topic, entry.outcome, entry.sealed_by) == ("refusal", "forged", "auditor")
        assert entry.job == event.job
        assert facts(entry)["claimed_topic"] == topic
        assert facts(entry)["error"] == "WrongRole"


def test_a_stolen_worker_tells_neither_of_a_release_nor_of_a_grant():
    """The line of the table that everything else here rests on."""
    workers = {Role.GUARDRAIL, Role.ROUTER, Role.GPU, Role.CLOUD, Role.CLIENT, NOBODY}
    assert not workers & SPEAKERS["release"]
    assert not workers & SPEAKERS["approval"]
    assert SPEAKERS["gap"] == {Role.AUDITOR}
    assert SPEAKERS["verdict"] == {Role.GUARDRAIL, Role.GPU}
    assert set(SPEAKERS) == set(AuditEvent.model_fields["topic"].annotation.__args__)


def envelope(event, **changes):
    return json.loads(KEYS.note(event)) | changes


STRANGER = Signer.create(Role.GUARDRAIL)
FORGERIES = {
    "ForgedEnvelope": lambda event: envelope(event, exp=now_ms() + 1_000_000),
    "TamperedPayload": lambda event: envelope(
        event, payload=event.model_copy(update={"outcome": "x"}).model_dump_json()
    ),
    "UnknownKey": lambda event: envelope(event, kid=STRANGER.kid),
    "WrongRole": lambda event: envelope(event, role="controller"),
    "Retargeted": lambda event: (
        KEYS.signers[Role.GUARDRAIL].seal(event, SCREEN, event.id, now_ms() + 9999).model_dump()
    ),
    "WrongIdentity": lambda event: (
        KEYS.signers[Role.GUARDRAIL].seal(event, AUDITED, new_identity(), now_ms() + 9999).model_dump()
    ),
    "EnvelopeExpired": lambda event: KEYS.signers[Role.GUARDRAIL].seal(event, AUDITED, event.id, 1).model_dump(),
    "InvalidMessage": lambda event: (
        KEYS.signers[Role.GUARDRAIL].seal(UserRequest(prompt=SECRET), AUDITED, event.id, now_ms() + 9999).model_dump()
    ),
}


@pytest.mark.parametrize("error", FORGERIES)
def test_a_seal_that_does_not_hold_is_told_as_forged(reader, error):
    event = told(facts={"said": SECRET})
    entry = reader.read(json.dumps(FORGERIES[error](event)).encode())
    assert (entry.topic, entry.outcome, entry.sealed_by) == ("refusal", "forged", "auditor")
    assert facts(entry)["error"] == error
    assert SECRET not in str(entry)


MALFORMED = {
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "no object": b"[1]",
    "empty": b"",
    "too deep": b"[" * 60_000,
    "too long": b'{"e": "' + b"x" * 70_000 + b'"}',
    "another message": UserRequest(prompt=SECRET).model_dump_json().encode(),
    "an unknown topic": json.dumps({**json.loads(told().model_dump_json()), "topic": "gossip"}).encode(),
    "a NUL in a fact": KEYS.note(told(facts={"a": "\0"})),
    "a NUL in a list": KEYS.note(told(facts={"a": ("x", "\0")})),
    "a NUL in a name": KEYS.note(told(facts={"\0": 1})),
    "a NUL in the excerpt": KEYS.note(told(excerpt="\0")),
    "no number": KEYS.note(told("refusal", facts={"a": 1}), None).replace(b'"a":1', b'"a":NaN'),
    "half a letter": KEYS.note(told("refusal", facts={"a": "b"}), None).replace(b'"b"', b'"\\ud800"'),
    "a seal and nothing else": b'{"sig": 1}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_note_is_told_by_its_hash(reader, name):
    entry = reader.read(MALFORMED[name])
    assert entry.topic == "refusal"
    assert entry.outcome == ("forged" if name.startswith("a seal") else "malformed")
    assert entry.note_hash == hashlib.sha256(MALFORMED[name]).hexdigest()
    assert entry.sealed_by == "auditor"
    assert SECRET not in str(entry)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = [*json.loads(KEYS.note(told())), *json.loads(told().model_dump_json())]


@given(st.binary() | st.text().map(str.encode))
def test_the_reader_survives_any_bytes(reader, raw):
    assert reader.read(raw).note_hash == hashlib.sha256(raw).hexdigest()


@given(st.data())
def test_the_reader_survives_any_field(reader, data):
    good = json.loads(data.draw(st.sampled_from([KEYS.note(told()), KEYS.note(told("refusal"), None)])))
    changed = good | data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3))
    entry = reader.read(json.dumps(changed).encode())
    assert entry.sealed_by in {"auditor", NOBODY} or changed == good
    assert "\0" not in f"{entry}"


def test_a_key_that_joins_the_ring_later_is_known_without_a_restart():
    keys, ring = Keys(), [KeyRing({})]
    reader = type(keys.reader())(lambda: ring[0], keys.signers[Role.AUDITOR], 65_536)
    assert reader.read(keys.note(told())).outcome == "forged"
    ring[0] = keys.ring
    assert reader.read(keys.note(told())).sealed_by == "guardrail"
