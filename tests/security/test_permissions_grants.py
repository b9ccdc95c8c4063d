"""Grants: believed for an operator's seal alone, good for what they say, and over when they say."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.permissions import grants
from switchtower.envelope import Role
from switchtower.errors import PermissionRefused
from switchtower.messages import new_identity, now_ms
from tests.support.permits import HOUR_MS, JOB, Office, asking, case, given_to
from tests.support.wait import until

UPLOAD = ("file_write", "uploads/notes.txt")


@pytest.fixture
def office(quick_broker):
    return Office(quick_broker)


# -- forging --------------------------------------------------------------------------------------


def forge(office, signer, grant):
    """Write a grant into Redis as whoever holds a worker's credentials could."""
    sealed = signer.seal(grant, grants.WIRE, grant.id, grant.expires).model_dump_json()
    office.redis.set(f"switchtower:permissions:grant:{grant.id}", sealed, pxat=grant.expires)
    for index in (grants.INDEX, f"{grants.INDEX}:{grant.model}"):
        office.redis.zadd(index, {grant.id: grant.expires})
        office.redis.pexpireat(index, grant.expires)


def test_a_grant_is_believed_for_its_seal(office):
    forge(office, office.operator, given_to())
    assert office.manager.decide(asking(*UPLOAD)).granted


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_a_stolen_workers_key_grants_nothing(office, role):
    forge(office, office.broker.signer(role), given_to())
    assert not office.manager.decide(asking(*UPLOAD)).granted
    assert office.desk.grants() == []


def test_a_changed_grant_is_none(office):
    grant = office.desk.give(office.operator, given_to())
    key = f"switchtower:permissions:grant:{grant.id}"
    sealed = json.loads(office.redis.get(key))
    for change in (
        {"payload": sealed["payload"].replace("notes", "other")},
        {"exp": sealed["exp"] + HOUR_MS},
        {"role": "guardrail"},
    ):
        office.redis.set(key, json.dumps(sealed | change), keepttl=True)
        assert office.desk.grants() == []
    assert not office.manager.decide(asking("file_write", "uploads/other.txt")).granted


def test_a_grant_under_another_id_is_none(office):
    grant = office.desk.give(office.operator, given_to(once=True))
    copy = new_identity()
    raw = office.redis.get(f"switchtower:permissions:grant:{grant.id}")
    office.redis.set(f"switchtower:permissions:grant:{copy}", raw, pxat=grant.expires)
    for index in (grants.INDEX, f"{grants.INDEX}:local"):
        office.redis.zadd(index, {copy: grant.expires})
    assert [one.id for one in office.desk.grants()] == [grant.id]


# -- how long and how often -----------------------------------------------------------------------


def test_a_grant_that_is_good_once_is_used_up(office):
    grant = office.desk.approve(office.operator, office.asked(*UPLOAD), once=True)
    request = asking(*UPLOAD)
    assert office.manager.decide(request).granted
    assert office.manager.decide(request).pending
    assert grant.id not in [one.id for one in office.desk.grants()]


def test_of_many_at_once_one_gets_it(office):
    office.desk.give(office.operator, given_to(once=True))
    found, start = [], threading.Barrier(8)

    def take():
        start.wait()
        found.append(office.manager.decide(asking(*UPLOAD)).granted)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 7 + [True]


def test_a_standing_grant_is_used_before_one_that_is_good_once(office):
    once = office.desk.give(office.operator, given_to(once=True, expires=now_ms() + HOUR_MS // 2))
    standing = office.desk.give(office.operator, given_to())
    assert office.manager.decide(asking(*UPLOAD)).grant == standing.id
    assert {one.id for one in office.desk.grants()} == {once.id, standing.id}


def test_a_revoked_grant_is_over_at_once_and_a_copy_of_it_too(office):
    grant = office.desk.approve(office.operator, office.asked(*UPLOAD))
    raw = office.redis.get(f"switchtower:permissions:grant:{grant.id}")
    office.desk.revoke(office.operator, grant.id, "a mistake")
    assert not office.manager.decide(asking(*UPLOAD)).granted
    office.redis.set(f"switchtower:permissions:grant:{grant.id}", raw, pxat=grant.expires)
    for index in (grants.INDEX, f"{grants.INDEX}:local"):
        office.redis.zadd(index, {grant.id: grant.expires})
        office.redis.pexpireat(index, grant.expires)
    assert not office.manager.decide(asking(*UPLOAD)).granted
    assert office.audit("approval")[-1]["outcome"] == "revoked"
    with pytest.raises(PermissionRefused, match="no such grant"):
        office.desk.revoke(office.operator, grant.id)


def test_a_grant_ends_with_its_time(office):
    office.desk.give(office.operator, given_to(expires=now_ms() + 1500))
    decision = office.manager.decide(asking(*UPLOAD))
    assert decision.granted
    assert decision.expires <= now_ms() + 1500
    until(lambda: office.manager.decide(asking(*UPLOAD)).pending, "the grant to end")
    assert office.desk.grants() == []


@pytest.mark.parametrize("seconds", [0, -1, 2_592_001])
def test_a_grant_has_a_length_within_limits(office, seconds):
    identity = office.asked(*UPLOAD)
    with pytest.raises(PermissionRefused, match="more than 0 s and at most 2592000 s"):
        office.desk.approve(office.operator, identity, seconds)
    with pytest.raises(PermissionRefused, match="more than 0 s"):
        office.desk.give(office.operator, given_to(expires=max(1, now_ms() + 1000 * seconds)))
    assert len(office.desk.pending()) == 1


def test_a_grant_may_be_for_a_folder_a_job_and_no_more(office):
    office.desk.give(office.operator, given_to(resource="uploads/drafts", beneath=True, bound=JOB))
    assert office.manager.decide(asking("file_write", "uploads/drafts/a/b")).granted
    assert office.manager.decide(asking("file_write", "uploads/drafts")).granted
    assert office.manager.decide(asking("file_write", "uploads/draftsman")).pending
    assert office.manager.decide(asking("file_write", "uploads/drafts/a/b", job=new_identity())).pending
    assert office.manager.decide(asking("file_write", "uploads/drafts/../x")).pending


def test_a_grant_opens_nothing_that_policy_keeps_shut(office):
    office.desk.give(office.operator, given_to(resource="etc", beneath=True))
    office.desk.give(office.operator, given_to(resource="uploads", beneath=True))
    assert office.manager.decide(asking("file_write", "etc/passwd")).reason == "no policy permits it"
    assert office.manager.decide(asking("file_write", "uploads/.versions/1")).policies == ("versions-stay",)


@given(
    st.sampled_from(["uploads/a", "uploads/a/b", "uploads/ab", "uploads"]),
    st.sampled_from(["local", "cloud"]),
    st.sampled_from(["file_write", "file_read"]),
    st.sampled_from(["default", "acme"]),
    st.booleans(),
)
def test_a_grant_covers_its_own_and_nothing_else(resource, model, action, tenant, beneath):
    grant = given_to(resource="uploads/a", beneath=beneath)
    inside = resource == "uploads/a" or (beneath and resource == "uploads/a/b")
    mine = (model, action, tenant) == ("local", "file_write", "default")
    assert grant.covers(case(action, resource, model, tenant=tenant)) is (inside and mine)
