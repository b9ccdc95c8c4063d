"""The envelope: what was sealed comes out again, and whatever was touched is refused under its own name."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchtower.envelope import SKEW_MS, KeyRing, Role, Signer, admit, check_time, parse, payload_hash, unpack
from switchtower.errors import (
    EnvelopeExpired,
    EnvelopeFromFuture,
    EnvelopeRefused,
    ForgedEnvelope,
    InvalidMessage,
    MalformedEnvelope,
    OversizedEnvelope,
    Retargeted,
    TamperedPayload,
    UnknownKey,
    UnknownVersion,
    WrongIdentity,
    WrongRole,
)
from switchtower.messages import Envelope, Feedback, UserRequest, new_identity, now_ms
from switchtower.queues import ROUTE, SCREEN

TOLD = "the codeword is Rumpelstilzchen"
LIMIT = 10_000
SIGNERS = {role: Signer.create(role) for role in Role}
RING = KeyRing.of(*SIGNERS.values())
IDENTITY = new_identity()
REQUEST = UserRequest(prompt=TOLD)
CLIENT = SIGNERS[Role.CLIENT]
EXPIRES = now_ms() + 3_600_000
GOOD = CLIENT.seal(REQUEST, SCREEN, IDENTITY, EXPIRES)
TEXT = GOOD.model_dump_json().encode()


def receive(raw, wire=SCREEN, identity=IDENTITY, roles=frozenset({Role.CLIENT})):
    """What a station does with an argument before its body runs."""
    envelope = parse(raw, LIMIT)
    admit(envelope, RING, wire, identity, roles)
    return unpack(envelope, UserRequest)


def changed(**fields):
    """The good envelope's JSON object with some fields replaced, the seal left alone."""
    return GOOD.model_dump() | fields


def resealed(signer=CLIENT, expires=EXPIRES, payload=None, **head):
    """An envelope whose seal is good, around a head or a payload that is not."""
    payload = payload if payload is not None else GOOD.payload
    fields = GOOD.model_dump(exclude={"payload", "sig"}) | {"kid": signer.kid, "role": str(signer.role)}
    fields |= {"exp": expires, "hash": payload_hash(payload)} | head
    signed = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return fields | {"payload": payload, "sig": base64.b64encode(signer.key.sign(signed)).decode()}


def refuse(raw, error, **address):
    """Expect the error, exactly it, saying nothing of the payload."""
    with pytest.raises(EnvelopeRefused) as refused:
        receive(raw, **address)
    assert type(refused.value) is error
    assert "Rumpelstilzchen" not in str(refused.value)


def test_the_good_envelope_is_admitted():
    assert receive(json.loads(TEXT)) == REQUEST
    assert receive(resealed()) == REQUEST


# -- touched on the way ---------------------------------------------------------------------------


def same(text):
    """Whether the text still says the very same envelope (a hex digit of an escape may change its case)."""
    try:
        return Envelope.model_validate_json(text) == GOOD
    except ValueError:
        return False


def refused_or_unreadable(text):
    try:
        raw = json.loads(text)
    except ValueError:  # neither JSON nor UTF-8: the transport's decoder refuses it
        return True
    try:
        receive(raw)
    except EnvelopeRefused:
        return True
    return same(text)


def test_any_flipped_bit_anywhere_is_refused():
    for place in range(len(TEXT)):
        for bit in range(8):
            flipped = bytearray(TEXT)
            flipped[place] ^= 1 << bit
            assert refused_or_unreadable(bytes(flipped)), (place, bit, bytes(flipped))


@given(st.integers(0, len(TEXT) - 1), st.binary(max_size=20), st.integers(0, 20))
def test_any_cut_and_any_insertion_is_refused(place, inserted, cut):
    touched = TEXT[:place] + inserted + TEXT[place + cut :]
    if touched != TEXT and not touched.isspace():
        assert refused_or_unreadable(touched) or json.loads(touched) == json.loads(TEXT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("wire", ROUTE),
        ("id", "0190a000-0000-7000-8000-000000000000"),
        ("job", "0190a000-0000-7000-8000-000000000000"),
        ("iat", 1_700_000_000_000),
        ("exp", 2**52),
        ("nonce", "0" * 32),
        ("hash", "0" * 64),
        ("sig", base64.b64encode(bytes(64)).decode()),
        ("sig", "not base64"),
        ("sig", ""),
    ],
)
def test_a_changed_head_is_forged(field, value):
    refuse(changed(**{field: value}), ForgedEnvelope)


def test_another_payload_is_tampering():
    refuse(changed(payload=GOOD.payload.replace("codeword", "password")), TamperedPayload)


def test_another_payload_with_its_own_hash_is_forged():
    payload = GOOD.payload.replace("codeword", "password")
    refuse(changed(payload=payload, hash=payload_hash(payload)), ForgedEnvelope)


def test_the_same_signature_in_other_letters_is_forged():
    """Base64 has spare bits in its last letter; only the canonical form is taken."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = letters.index(GOOD.sig[-3])
    refuse(changed(sig=GOOD.sig[:-3] + letters[last ^ 1] + "=="), ForgedEnvelope)


@pytest.mark.parametrize("sig", ["", "é" * 88, "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 88, "AAAA", "====", "\0" * 88])
def test_what_is_no_signature_at_all_is_forged(sig):
    refuse(changed(sig=sig), ForgedEnvelope)


# -- good seals in the wrong place ----------------------------------------------------------------


def test_sealed_for_another_task():
    refuse(GOOD.model_dump(), Retargeted, wire=ROUTE)


def test_delivered_under_another_id():
    refuse(GOOD.model_dump(), WrongIdentity, identity=new_identity())


def test_sealed_by_a_role_that_may_not_hand_work_here():
    refuse(resealed(SIGNERS[Role.GPU]), WrongRole)


def test_sealed_by_the_key_of_another_role():
    refuse(resealed(SIGNERS[Role.GPU], role="client"), WrongRole)


def test_sealed_by_a_key_that_nobody_knows():
    refuse(resealed(Signer.create(Role.CLIENT)), UnknownKey)


def test_sealed_by_an_impostor_under_a_known_name():
    refuse(resealed(Signer.create(Role.CLIENT, kid=CLIENT.kid)), ForgedEnvelope)


def test_expired():
    refuse(resealed(expires=now_ms()), EnvelopeExpired)


def test_from_the_future():
    refuse(resealed(iat=now_ms() + SKEW_MS + 5_000), EnvelopeFromFuture)


@pytest.mark.parametrize(("at", "error"), [(0, EnvelopeExpired), (1, EnvelopeExpired), (-1, None)])
def test_the_expiry_is_the_first_moment_that_is_too_late(at, error):
    if error is None:
        check_time(GOOD, clock=lambda: GOOD.exp + at)
        return
    with pytest.raises(error):
        check_time(GOOD, clock=lambda: GOOD.exp + at)


def test_clocks_may_differ_a_little():
    check_time(GOOD, clock=lambda: GOOD.iat - SKEW_MS)
    with pytest.raises(EnvelopeFromFuture):
        check_time(GOOD, clock=lambda: GOOD.iat - SKEW_MS - 1)


# -- wrong shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [None, 1, "text", [], [GOOD.model_dump()], True])
def test_not_an_object(raw):
    refuse(raw, MalformedEnvelope)


@pytest.mark.parametrize("field", [name for name in Envelope.model_fields if name != "v"])
def test_a_missing_field(field):
    raw = GOOD.model_dump()
    del raw[field]
    refuse(raw, MalformedEnvelope)


@pytest.mark.parametrize("field", ["wire", "id", "iat", "exp", "nonce", "hash", "payload", "sig", "kid", "role"])
@pytest.mark.parametrize("value", [None, [], {}, 1.5, "x" * 200 + "\n"])
def test_a_field_of_the_wrong_type(field, value):
    raw = changed(**{field: value})
    with pytest.raises(EnvelopeRefused) as refused:
        receive(raw)
    assert type(refused.value) in (MalformedEnvelope, TamperedPayload)


def test_a_field_that_is_unknown():
    refuse(changed(**{TOLD: 1}), MalformedEnvelope)


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, TOLD])
def test_an_unknown_version(version):
    refuse(changed(v=version), UnknownVersion)


def test_a_body_over_the_limit():
    refuse(changed(payload="x" * (LIMIT + 1)), OversizedEnvelope)


# -- wrong payloads under a good seal -------------------------------------------------------------


def payload(**fields):
    return json.dumps(json.loads(GOOD.payload) | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        TOLD,
        payload(kind="completion"),
        payload(prompt=None),
        payload(prompt=" "),
        payload(**{TOLD: 1}),
        payload(sampling={TOLD: 1}),
        payload(tenant=TOLD),
        payload(deadline=-1),
        Feedback(job=GOOD.job, score=0.5).model_dump_json(),
    ],
    ids=[
        "empty",
        "null",
        "list",
        "text",
        "other kind",
        "no prompt",
        "blank prompt",
        "unknown field",
        "unknown inner field",
        "bad name",
        "bad time",
        "another message",
    ],
)
def test_not_a_message_that_the_station_takes(text):
    refuse(resealed(payload=text), InvalidMessage)


def test_a_message_of_an_unknown_version():
    refuse(resealed(payload=payload(v=2)), UnknownVersion)


def test_a_message_of_another_job():
    other = new_identity()
    refuse(resealed(payload=payload(job=other)), WrongIdentity)


# -- keys -----------------------------------------------------------------------------------------


def test_a_signer_and_a_ring_survive_the_disk(tmp_path):
    CLIENT.save(tmp_path)
    KeyRing.of(CLIENT).save(tmp_path)
    again, ring = Signer.load(tmp_path, Role.CLIENT), KeyRing.load(tmp_path)
    envelope = again.seal(REQUEST, SCREEN, IDENTITY, EXPIRES)
    admit(envelope, ring, SCREEN, IDENTITY, {Role.CLIENT})


def test_a_private_key_is_its_owners_alone(tmp_path):
    assert CLIENT.save(tmp_path).stat().st_mode & 0o077 == 0


def test_the_ring_holds_nothing_secret(tmp_path):
    seed = base64.b64encode(CLIENT.key.private_bytes_raw()).decode()
    assert seed not in KeyRing.of(CLIENT).save(tmp_path).read_text()


def test_no_two_seals_are_alike():
    first, second = (CLIENT.seal(REQUEST, SCREEN, IDENTITY, EXPIRES) for _ in range(2))
    assert first.nonce != second.nonce
    assert first.sig != second.sig
