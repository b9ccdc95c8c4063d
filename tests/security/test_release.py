"""Releasing the lockdown: what the controller demands, and what becomes of those who cannot give it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from security.lockdown.operators import revoke
from security.lockdown.places import REQUESTS, answer_key
from security.lockdown.request import LIFE_MS, request_release
from switchtower.envelope import Role, Signer
from switchtower.errors import ReleaseRefused
from switchtower.jobs import FLAG_EPOCH
from switchtower.lease import Flag
from switchtower.messages import now_ms
from switchtower.queues import LOCKDOWN, SCREEN
from tests.support.harness import controlled
from tests.support.person import Person
from tests.support.site import Site
from tests.support.wait import until


@pytest.fixture
def site(quick_broker_of_module, tmp_path) -> Iterator[Site]:
    """An open line with one controller."""
    made = Site.on(quick_broker_of_module, tmp_path)
    with controlled(made.settings):
        yield made


@pytest.fixture
def ada(site) -> Person:
    return site.person("ada")


# -- what opens -----------------------------------------------------------------------------------


def test_an_operator_with_password_and_code_releases(site, ada):
    flag, locked = Flag(site.ring), site.lock()
    assert not site.open_to(flag)
    assert site.ask(ada).outcome == "released"
    assert site.open_to(flag)
    assert (site.status.locked, site.status.by, site.status.reason) == (False, "ada", "the drill is over")
    assert site.status.epoch > locked


def test_a_release_is_audited_and_shown(site, ada):
    site.lock()
    site.ask(ada)
    (raised, opened), (release,) = site.audited("lockdown"), site.audited("release")
    assert (raised.outcome, opened.outcome, opened.facts["by"]) == ("locked", "open", ("ada",))
    assert (release.outcome, release.actor) == ("released", "ada")
    assert [(one.operator, one.outcome) for one in site.status.releases] == [("ada", "released")]


def test_the_epoch_rises_even_where_the_brokers_was_made_up(site, ada):
    site.lock()
    site.redis.set(FLAG_EPOCH, 7)
    until(lambda: site.status.epoch > 7, "the controller to lock again")
    before = site.status.epoch
    assert site.ask(ada).outcome == "released"
    assert site.status.epoch > before


# -- what does not --------------------------------------------------------------------------------


def test_an_open_line_is_not_released(site, ada):
    assert site.ask(ada).outcome == "not_locked"


def test_a_wrong_code(site, ada):
    site.lock()
    assert site.ask(ada, ada.wrong_code()).outcome == "wrong_code"
    assert site.status.locked
    assert [event.outcome for event in site.audited("release")] == ["wrong_code"]


def test_a_code_is_taken_once(site, ada):
    """RFC 6238, section 5.2: not even by the operator whose code it is."""
    site.lock()
    code = ada.code()
    assert site.ask(ada, code).outcome == "released"
    site.lock()
    assert site.ask(ada, code).outcome == "used_code"
    assert site.status.locked


def test_a_used_code_is_remembered_by_a_controller_that_starts_again(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path)
    ada = site.person("ada")
    with controlled(site.settings):
        site.lock()
        code = ada.code()
        assert site.ask(ada, code).outcome == "released"
    with controlled(site.settings):
        site.lock()
        assert site.ask(ada, code).outcome == "used_code"


def test_a_lockdown_that_was_raised_again_must_be_looked_at_again(site, ada):
    looked_at = site.lock()
    site.lock()
    assert site.ask(ada, epoch=looked_at).outcome == "stale_epoch"
    assert site.status.locked


def test_the_same_request_is_read_once(site, ada):
    """Whoever copies a request from the broker gets nothing by sending it again."""
    site.lock()
    request = site.wish(ada, ada.wrong_code())
    copy = Copy(ada.signer)
    answers = [request_release(site.redis, site.ring, copy, request).outcome for _ in range(2)]
    assert answers == ["wrong_code", "replayed"]


class Copy:
    """Seals a message once, and gives the same envelope ever after."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._kept = None

    def seal(self, *args):
        self._kept = self._kept or self._signer.seal(*args)
        return self._kept


def sent_by_hand(site, envelope):
    """Put an envelope on the list and wait for what the controller says."""
    site.redis.rpush(REQUESTS, envelope.model_dump_json())
    found = site.redis.blpop([answer_key(envelope.id)], timeout=5)
    assert found, "no answer"
    return found[1]


@pytest.mark.parametrize("role", [Role.CLIENT, Role.GUARDRAIL, Role.ROUTER, Role.GPU])
def test_a_stolen_workers_key_releases_nothing(site, quick_broker_of_module, ada, role):
    site.lock()
    thief = quick_broker_of_module.signer(role)
    request = site.wish(ada)
    assert "not_admitted" in sent_by_hand(site, thief.seal(request, LOCKDOWN, request.id, now_ms() + 1000))
    forged = Signer(ada.signer.kid, Role.OPERATOR, thief.key)
    request = site.wish(ada)
    assert "not_admitted" in sent_by_hand(site, forged.seal(request, LOCKDOWN, request.id, now_ms() + 1000))
    assert site.status.locked
    assert {event.outcome for event in site.audited("release")} == {"not_admitted"}


@pytest.mark.parametrize(("wire", "life_ms"), [(SCREEN, 1000), (LOCKDOWN, LIFE_MS + 5000), (LOCKDOWN, -1)])
def test_a_request_for_something_else_or_for_ever_is_none(site, ada, wire, life_ms):
    site.lock()
    request = site.wish(ada)
    assert "not_admitted" in sent_by_hand(site, ada.signer.seal(request, wire, request.id, now_ms() + life_ms))
    assert site.status.locked


def test_a_revoked_operator_releases_nothing(site, ada):
    site.person("bob")
    site.lock()
    revoke("ada", site.settings)
    assert site.ask(ada).outcome == "not_admitted"
    assert site.status.locked


def test_without_a_controller_there_is_no_release(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path)
    ada = site.person("ada")
    with pytest.raises(ReleaseRefused, match="switchtower controller"):
        site.ask(ada, epoch=1)


# -- guessing -------------------------------------------------------------------------------------


def test_who_guesses_must_wait_and_others_need_not(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path, release_attempts=2)
    ada, bob = site.person("ada"), site.person("bob")
    with controlled(site.settings):
        site.lock()
        assert [site.ask(ada, ada.wrong_code()).outcome for _ in range(2)] == ["wrong_code", "wrong_code"]
        refused = site.ask(ada)
        assert (refused.outcome, refused.until > now_ms()) == ("rate_limited", True)
    with controlled_locked(site):  # it counts on where it stopped
        assert site.ask(ada).outcome == "rate_limited"
        assert site.ask(bob).outcome == "released"


def test_the_wait_has_an_end(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path, release_attempts=1, release_window_s=1)
    ada = site.person("ada")
    with controlled(site.settings):
        site.lock()
        assert site.ask(ada, ada.wrong_code()).outcome == "wrong_code"
        assert site.ask(ada).outcome == "rate_limited"
        until(lambda: site.ask(ada).outcome == "released", "the window to pass", seconds=5)


def test_strangers_use_up_nobodys_attempts(site, ada):
    """Neither rubbish nor requests in the operator's name under another key; and they cost one entry in the audit."""
    site.lock()
    forged = Signer(ada.signer.kid, Role.OPERATOR, Signer.create(Role.OPERATOR).key)
    requests = [site.wish(ada, "000000") for _ in range(20)]
    sealed = [forged.seal(one, LOCKDOWN, one.id, now_ms() + 1000).model_dump_json() for one in requests]
    site.redis.rpush(REQUESTS, *sealed, "rubbish", "[" * 5000, b"\xff\xfe", "{}")
    assert site.ask(ada).outcome == "released"

    def turned_away():
        return [event.facts["count"] for event in site.audited("release") if event.outcome == "not_admitted"]

    assert sum(until(turned_away, "the audit's entry")) == 24


def controlled_locked(site):
    """A controller on a line that stays locked."""
    return controlled(site.settings, locked=True)


# -- two persons, and the audit's head ------------------------------------------------------------


def test_two_operators_must_agree_where_the_settings_say_so(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path, second_person=True)
    ada, bob = site.person("ada"), site.person("bob")
    with controlled(site.settings):
        site.lock()
        assert site.ask(ada).outcome == "second_person"
        assert site.ask(ada).outcome == "second_person"
        assert site.status.locked
    with controlled_locked(site):
        assert site.ask(bob).outcome == "released"
        assert site.status.by == "ada and bob"


def test_consent_is_given_for_one_lockdown(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path, second_person=True)
    ada, bob = site.person("ada"), site.person("bob")
    with controlled(site.settings):
        site.lock()
        assert site.ask(ada).outcome == "second_person"
        site.lock()
        assert site.ask(bob).outcome == "second_person"
        assert site.status.locked


def test_the_consent_of_someone_revoked_is_void(quick_broker_of_module, tmp_path):
    site = Site.on(quick_broker_of_module, tmp_path, second_person=True)
    ada, bob = site.person("ada"), site.person("bob")
    with controlled(site.settings):
        site.lock()
        assert site.ask(ada).outcome == "second_person"
        revoke("ada", site.settings)
        assert site.ask(bob).outcome == "second_person"


@dataclass(frozen=True)
class Mark:
    """A head of the audit."""

    seq: int
    hash: str


class Trail:
    """Signed heads, as the audit's mirror has them."""

    def __init__(self) -> None:
        self.marks = [Mark(number, f"{number:064x}") for number in (1, 2)]

    def latest(self):
        return self.marks[-1]

    def find(self, digest):
        return next((mark for mark in self.marks if mark.hash == digest), None)


def test_a_release_bears_the_audits_head_of_the_incident_or_a_later_one(quick_broker_of_module, tmp_path):
    site, trail = Site.on(quick_broker_of_module, tmp_path), Trail()
    ada = site.person("ada")
    with controlled(site.settings, trail):
        site.lock()
        until(lambda: site.ask(ada, head=trail.marks[0].hash).outcome == "wrong_head", "the lockdown to be seen")
        trail.marks.append(Mark(3, f"{3:064x}"))
        assert site.ask(ada).outcome == "wrong_head"
        assert site.ask(ada, head="f" * 64).outcome == "wrong_head"
        assert site.ask(ada, head=trail.marks[0].hash).outcome == "wrong_head"
        assert site.ask(ada, head=trail.latest().hash).outcome == "released"
