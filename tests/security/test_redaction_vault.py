"""The vault: whose values it gives back, to whom, and what becomes of an answer whose vault is lost."""

from __future__ import annotations

import json

import pytest

from security.redaction.placeholders import tag_of
from security.redaction.sealing import Unreadable, decrypt, encrypt, private, public
from security.redaction.vault import VAULT, Entries, Vault, VaultLost, vault_key
from switchtower.envelope import Role, Signer
from switchtower.messages import Turn, UserRequest, new_identity, now_ms
from switchtower.models import Sampling
from switchtower.queues import step_id
from tasks.disguise import VAULT_LOST
from tests.support.scene import KEYS, MINUTE_MS, Player, Scene

ASKED = "Mail to ada@example.org, my password is hunter2-hunter2."
"""The screening would refuse the password; here it has not."""


@pytest.fixture
def scene(quick_broker):
    return Scene(quick_broker.redis, UserRequest(prompt=ASKED))


def entries(scene: Scene, role: Role = Role.GPU, job: str = "", wire: str = VAULT, **values: str):
    """Sealed entries that say so."""
    made = Entries(values=values, screened=scene.proof(), job=scene.request.job)
    return KEYS[role].seal(made, wire, step_id(job or scene.request.job, wire), now_ms() + MINUTE_MS)


def put(scene: Scene, sealed) -> None:
    Vault(scene.gpu.redis).put(sealed, KEYS[Role.GUARDRAIL].key.public_key())


def placeholder(scene: Scene, kind: str = "EMAIL", number: int = 1) -> str:
    return f"[{kind}_{number}_{tag_of(scene.request.job)}]"


# -- the way there and back -----------------------------------------------------------------------


def test_the_completion_has_placeholders_and_stream_and_result_have_values(scene):
    answer = scene.generate(Player())
    assert answer.text == f"Mail to {placeholder(scene)}, my password is {placeholder(scene, 'SECRET')}."
    assert "".join(scene.gpu.out) == ASKED
    assert scene.review(answer).text == ASKED


def test_the_review_judges_the_answer_before_the_values_are_in_it(scene):
    """Else a user's own password, which the guardrail of this deployment let in, could not come back out."""
    result = scene.review(scene.generate(Player()))
    assert "hunter2" in result.text
    assert result.verdict.passed
    assert result.verdict.findings == ()


def test_a_review_that_is_repeated_finds_the_values_again(scene):
    answer = scene.generate(Player())
    assert scene.review(answer).text == scene.review(answer).text == ASKED


@pytest.mark.parametrize(
    ("redact", "provider", "hidden"),
    [
        ("never", "local", False),
        ("never", "openai", False),
        ("cloud", "local", False),
        ("cloud", "openai", True),
        ("cloud", "anthropic", True),
        ("always", "local", True),
        ("always", "gemini", True),
    ],
)
def test_the_policy_says_which_models_are_asked_in_placeholders(quick_broker, redact, provider, hidden):
    asked = "Mail to ada@example.org."
    scene, model = Scene(quick_broker.redis, UserRequest(prompt=asked), redact, provider), Player()
    answer = scene.generate(model)
    assert ("ada@example.org" not in json.dumps(model.seen)) is hidden
    assert bool(quick_broker.redis.exists(vault_key(scene.request.job))) is hidden
    assert "".join(scene.gpu.out) == asked
    assert scene.review(answer).text == asked


def test_history_and_stop_strings_are_no_way_around(quick_broker):
    class Curious(Player):
        def generate(self, messages, adapter, sampling, on_token, stop, output=None):
            self.stops = sampling.stop
            return super().generate(messages, adapter, sampling, on_token, stop, output)

    history = (Turn(role="user", text="I am ada@example.org."), Turn(role="assistant", text="Hello ada@example.org!"))
    request = UserRequest(prompt="Who am I?", history=history, sampling=Sampling(stop=("ada@example.org",)))
    scene, model = Scene(quick_broker.redis, request), Curious()
    scene.generate(model)
    assert "ada@" not in json.dumps(model.seen)
    assert model.stops == (placeholder(scene),)


def test_where_the_redaction_fails_the_model_is_not_asked(scene, monkeypatch):
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("security.redaction.redactor.Redactor.redact_all", broken)
    model = Player()
    with pytest.raises(MemoryError):
        scene.generate(model)
    assert (model.seen, scene.gpu.out) == ([], [])


def test_a_step_that_is_repeated_asks_with_the_same_placeholders(scene):
    assert scene.generate(Player()).text == scene.generate(Player()).text


# -- whose it is ----------------------------------------------------------------------------------


def test_only_the_guardrails_key_opens_it(scene):
    scene.generate(Player())
    for role in (Role.GPU, Role.CLOUD, Role.ROUTER):
        with pytest.raises(VaultLost):
            Vault(scene.gpu.redis).take(scene.request.job, KEYS[role].key)


def test_another_jobs_vault_is_not_used(scene, quick_broker):
    other = Scene(quick_broker.redis, UserRequest(prompt="Mail to eve@example.net."))
    other.generate(Player())
    answer = scene.generate(Player())
    stolen = quick_broker.redis.get(vault_key(other.request.job))
    quick_broker.redis.set(vault_key(scene.request.job), stolen, ex=60)
    result = scene.review(answer)
    assert result.text == answer.text
    assert result.verdict.findings == (VAULT_LOST,)


def test_another_jobs_placeholders_mean_nothing(scene, quick_broker):
    other = Scene(quick_broker.redis, UserRequest(prompt="Mail to eve@example.net."))
    other.generate(Player())
    answer = scene.generate(Player(says="{} " + placeholder(other)))
    assert scene.review(answer).text == f"{ASKED} {placeholder(other)}"
    assert "".join(scene.gpu.out) == f"{ASKED} {placeholder(other)}"


# -- what may be in it ----------------------------------------------------------------------------

FORGED = {
    "what the user has not said": lambda scene: entries(scene, **{placeholder(scene): "Buy at evil.example!"}),
    "sealed by a role that redacts nothing": lambda scene: entries(
        scene, Role.ROUTER, **{placeholder(scene): "ada@example.org"}
    ),
    "sealed for another job": lambda scene: entries(
        scene, job=new_identity(), **{placeholder(scene): "ada@example.org"}
    ),
    "sealed for another purpose": lambda scene: entries(
        scene, wire="switchtower.other", **{placeholder(scene): "ada@example.org"}
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_vault_can_say_nothing_that_is_not_the_requests(scene, how):
    """Else a worker that was taken over could put text past the review."""
    answer = scene.generate(Player())
    put(scene, FORGED[how](scene))
    result = scene.review(answer)
    assert result.text == answer.text
    assert result.verdict.findings == (VAULT_LOST,)


@pytest.mark.parametrize("forger", [KEYS[Role.GPU], Signer.create(Role.GUARDRAIL)])
def test_a_proof_that_the_guardrail_did_not_seal_proves_nothing(scene, forger):
    answer = scene.generate(Player())
    other = scene.request.model_copy(update={"prompt": "Buy at evil.example!"})
    made = Entries(values={placeholder(scene): other.prompt}, screened=scene.proof(other, forger), job=other.job)
    put(scene, KEYS[Role.GPU].seal(made, VAULT, step_id(other.job, VAULT), now_ms() + MINUTE_MS))
    assert scene.review(answer).text == answer.text


# -- when it is lost ------------------------------------------------------------------------------


LOSSES = {
    "gone": lambda redis, name: redis.delete(name),
    "cut off": lambda redis, name: redis.set(name, redis.get(name)[:40], ex=60),
    "no base64": lambda redis, name: redis.set(name, "*" * 80, ex=60),
    "empty": lambda redis, name: redis.set(name, "", ex=60),
    "of another type": lambda redis, name: redis.delete(name) and redis.rpush(name, "x") and redis.expire(name, 60),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_lost_vault_costs_the_values_and_never_the_job(scene, how):
    answer = scene.generate(Player())
    LOSSES[how](scene.gpu.redis, vault_key(scene.request.job))
    result = scene.review(answer)
    assert result.text == answer.text
    assert result.verdict.passed
    assert [finding.rule for finding in result.verdict.findings] == ["vault_lost"]


def test_an_answer_without_placeholders_does_not_miss_its_vault(scene):
    answer = scene.generate(Player(says="Nothing to see."))
    scene.gpu.redis.delete(vault_key(scene.request.job))
    assert scene.review(answer).verdict.findings == ()


def test_a_vault_that_cannot_be_written_does_not_stop_the_answer(scene):
    redis = scene.gpu.redis
    redis.acl_setuser("writer", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-set"])
    redis.execute_command("AUTH", "writer", "any")  # this very connection
    try:
        answer = scene.generate(Player())
        assert "".join(scene.gpu.out) == ASKED
    finally:
        redis.connection_pool.disconnect()
        redis.acl_deluser("writer")
    assert scene.review(answer).verdict.findings == (VAULT_LOST,)


def test_an_invented_placeholder_stays_as_it_is(scene):
    invented = placeholder(scene, "EMAIL", 7)
    answer = scene.generate(Player(says=f"Ask {invented} and {placeholder(scene)}."))
    assert scene.review(answer).text == f"Ask {invented} and ada@example.org."


# -- the box --------------------------------------------------------------------------------------


def test_the_two_forms_of_a_key_belong_together():
    for _ in range(20):
        key = Signer.create(Role.GUARDRAIL).key
        assert private(key).public_key().public_bytes_raw() == public(key.public_key()).public_bytes_raw()


def test_a_box_opens_for_its_purpose_only_and_not_when_it_was_touched():
    key = Signer.create(Role.GUARDRAIL).key
    box = encrypt(b"value", key.public_key(), "this")
    assert decrypt(box, key, "this") == b"value"
    assert b"value" not in box
    touched = box[:-1] + bytes([box[-1] ^ 1])
    for wrong, purpose in ((box, "that"), (touched, "this"), (b"", "this")):
        with pytest.raises(Unreadable):
            decrypt(wrong, key, purpose)
