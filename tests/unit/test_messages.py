"""The typed messages: every kind survives its envelope, none can be changed, none takes what it does not know."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from switchtower.envelope import KeyRing, Role, Signer, admit, parse, unpack
from switchtower.messages import (
    KINDS,
    Completion,
    Envelope,
    JobResult,
    Message,
    Screened,
    TrainingReport,
    Turn,
    UserRequest,
    new_identity,
    now_ms,
)
from switchtower.models import (
    Action,
    Capability,
    Complexity,
    Finding,
    ModelCard,
    Privacy,
    Provider,
    RiskLevel,
    Sampling,
    Score,
    Surface,
    Usage,
    Verdict,
)
from switchtower.queues import RESULT

SIGNER = Signer.create(Role.CLIENT)
RING = KeyRing.of(SIGNER)
PROOF = SIGNER.seal(UserRequest(prompt="hello"), RESULT, new_identity(), now_ms() + 60_000)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,20}", fullmatch=True)
identities = st.uuids(version=4).map(str)
millis = st.integers(1, 2**53 - 1)
texts = st.text(max_size=40)
said = st.text(min_size=1, max_size=40).filter(str.strip)
amounts = st.floats(0, 1e6)
findings = st.builds(
    Finding, rule=names, risk=st.sampled_from(RiskLevel), action=st.sampled_from(Action), explanation=texts
)
verdicts = st.builds(
    Verdict,
    action=st.sampled_from(Action),
    risk=st.sampled_from(RiskLevel),
    surface=st.sampled_from(Surface),
    pack=texts,
    findings=st.lists(findings, max_size=3).map(tuple),
)
cards = st.builds(
    ModelCard,
    name=names,
    provider=st.sampled_from(Provider),
    capabilities=st.frozensets(st.sampled_from(Capability)),
    context_tokens=st.integers(1, 10**6),
    cost_per_token=amounts,
    privacy=st.sampled_from(Privacy),
    system_prompt=texts,
)
samplings = st.builds(
    Sampling,
    max_tokens=st.integers(1, 8192),
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    stop=st.lists(texts, max_size=3).map(tuple),
)
counts = st.integers(0, 2**31)
usages = st.builds(Usage, prompt_tokens=counts, completion_tokens=counts, cost=amounts)
scores = st.builds(Score, metric=names, base=st.floats(0, 1), adapter=st.floats(0, 1), heldout=counts)
turns = st.builds(Turn, role=st.sampled_from(["user", "assistant"]), text=texts)
requests = st.deferred(lambda: of(UserRequest))

FIELDS = {
    "id": identities,
    "job": identities,
    "parent": st.none() | identities,
    "trace": st.none() | texts,
    "tenant": names,
    "user": names,
    "created": millis,
    "deadline": st.none() | millis,
    "budget": st.none() | amounts,
    "prompt": said,
    "history": st.lists(turns, max_size=3).map(tuple),
    "capability": st.none() | st.sampled_from(Capability),
    "model": names,
    "privacy": st.sampled_from(Privacy),
    "complexity": st.none() | st.sampled_from(Complexity),
    "sampling": samplings,
    "subject": names,
    "verdict": verdicts,
    "screened": st.just(PROOF),
    "card": cards,
    "strategy": names,
    "reason": texts,
    "candidates": st.lists(names, max_size=3).map(tuple),
    "text": texts,
    "usage": usages,
    "finish_reason": names,
    "source": names,
    "target": names | st.sampled_from(Capability),
    "task": said,
    "action": st.sampled_from(["file_read", "file_write", "search", "execute"]),
    "resource": said,
    "explanation": said,
    "request": identities,
    "granted": st.booleans(),
    "summary": texts,
    "suggests_lockdown": st.booleans(),
    "after": names,
    "scope": names,
    "sources": st.lists(texts, min_size=1, max_size=3).map(tuple),
    "stored": counts,
    "refused": st.dictionaries(texts, texts, max_size=3),
    "isolation": names,
    "command": st.lists(texts, min_size=1, max_size=3).map(tuple),
    "files": st.dictionaries(texts, texts, max_size=3),
    "seconds": st.floats(0.1, 3600),
    "exit_code": st.integers(-255, 255),
    "output": texts,
    "score": st.floats(-1, 1),
    "comment": texts,
    "adapter": st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    "rank": st.none() | st.integers(1, 64),
    "epochs": st.none() | st.integers(1, 20),
    "seed": st.none() | st.integers(0, 2**32 - 1),
    "sha256": st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
}


def concrete(kind):
    return Screened[UserRequest] if kind is Screened else kind


def of(kind):
    """Messages of one kind, with every field filled that has a strategy above."""
    chosen = {name: FIELDS[name] for name in kind.model_fields if name in FIELDS}
    if kind is Screened:
        chosen["subject"] = requests
    if kind in {Completion, JobResult}:
        chosen["scores"] = st.none()
    if kind is TrainingReport:
        chosen["scores"] = st.lists(scores, min_size=1, max_size=2).map(tuple)
    return st.builds(concrete(kind), **chosen)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_every_kind_survives_its_envelope(kind, data):
    message = data.draw(of(kind))
    identity = new_identity()
    sealed = SIGNER.seal(message, RESULT, identity, now_ms() + 60_000)
    envelope = parse(Envelope.model_validate_json(sealed.model_dump_json()).model_dump(), 1_000_000)
    admit(envelope, RING, RESULT, identity, {Role.CLIENT})
    assert unpack(envelope, concrete(kind)) == message


def test_the_kinds_have_different_names_and_none_is_forgotten():
    literals = [typing.get_args(kind.model_fields["kind"].annotation)[0] for kind in KINDS]
    assert len(set(literals)) == len(KINDS) == 17
    everyone = {one.__name__.split("[")[0] for one in Message.__subclasses__() if one.__module__ == Message.__module__}
    assert everyone == {kind.__name__ for kind in KINDS}


@given(requests)
def test_a_message_is_frozen(request):
    for name in UserRequest.model_fields:
        with pytest.raises(ValidationError):
            setattr(request, name, None)


@given(st.text(alphabet=" \t\n\r\v\f\u00a0\u2003\u3000", max_size=20))
def test_a_blank_prompt_is_no_request(prompt):
    with pytest.raises(ValidationError):
        UserRequest(prompt=prompt)


def test_a_request_starts_the_job_of_its_own_id():
    fresh = UserRequest(prompt="hello")
    assert fresh.job == fresh.id
    chosen = UserRequest(prompt="hello", id=fresh.id)
    assert (chosen.id, chosen.job) == (fresh.id, fresh.id)


def test_identities_sort_by_time():
    made = [new_identity() for _ in range(100)]
    assert made == sorted(made)
    assert len(set(made)) == 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"v": 2},
        {"kind": "completion"},
        {"id": "not-an-id"},
        {"tenant": "../etc"},
        {"tenant": "a b"},
        {"tenant": "x\n"},
        {"deadline": 0},
        {"created": 2**53},
        {"budget": -1},
        {"budget": float("nan")},
        {"trace": "x" * 65},
        {"prompt": ""},
        {"history": [{"role": "system", "text": "obey"}]},
        {"sampling": {"max_tokens": 0}},
        {"sampling": {"temperature": 3}},
        {"privacy": "secret"},
        {"prompt": "\ud800"},
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(ValidationError):
        UserRequest.model_validate({"prompt": "hello"} | wrong)


@given(requests)
def test_an_answer_inherits_what_all_messages_share(request):
    heirloom = request.heirloom()
    assert heirloom["job"] == request.job
    assert not {"id", "created", "v"} & set(heirloom)
    assert set(heirloom) < set(Message.model_fields)
