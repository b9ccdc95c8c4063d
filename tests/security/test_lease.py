"""The flag as its readers judge it: which leases count, for how long, and what ends an epoch."""

from __future__ import annotations

import pytest

import switchtower.envelope
import switchtower.lease
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.lease import MAX_LEASE_MS, Flag, Lease, epoch_of, locked_by, printable, read_lease
from switchtower.messages import new_identity, now_ms
from switchtower.queues import LOCKDOWN, SCREEN
from tests.support.wait import until

CONTROLLER, OTHER, GUARDRAIL, OPERATOR = (
    Signer.create(role) for role in (Role.CONTROLLER, Role.CONTROLLER, Role.GUARDRAIL, Role.OPERATOR)
)
RING = KeyRing.of(CONTROLLER, OTHER, GUARDRAIL, OPERATOR)
NOW = now_ms()


def lease(epoch=NOW, signer=CONTROLLER, life_ms=3000, wire=LOCKDOWN):
    """A raw flag, and its epoch as the broker would tell it."""
    identity, expires = new_identity(), now_ms() + life_ms
    said = Lease(job=identity, epoch=epoch, expires=expires, since=NOW, by="ada", reason="all is well")
    return signer.seal(said, wire, identity, expires).model_dump_json(), str(epoch)


@pytest.fixture
def flag():
    return Flag(RING)


def test_a_controllers_lease_is_open(flag):
    raw, epoch = lease()
    assert flag.accept(raw, epoch)
    assert (flag.verified, flag.lease.by, flag.doubt) == (raw, "ada", "")


def test_a_second_controller_may_renew(flag):
    assert flag.accept(*lease())
    assert flag.accept(*lease(signer=OTHER))


@pytest.mark.parametrize("signer", [GUARDRAIL, OPERATOR, Signer.create(Role.CONTROLLER)])
def test_nobody_else_may(flag, signer):
    assert not flag.accept(*lease(signer=signer))
    assert flag.verified == ""


def test_a_lease_for_another_wire_is_none(flag):
    assert not flag.accept(*lease(wire=SCREEN))


def test_a_lease_is_over_in_time(flag):
    """Also between two looks: what the gate compares with is empty at once."""
    raw, epoch = lease(life_ms=150)
    assert flag.accept(raw, epoch)
    until(lambda: flag.verified == "", "the lease to run out", seconds=3)
    assert not flag.accept(raw, epoch)
    assert "over" in flag.doubt


def test_a_clock_that_is_set_back_makes_no_lease_longer(flag, monkeypatch):
    assert flag.accept(*lease(life_ms=200))
    monkeypatch.setattr(switchtower.lease, "now_ms", lambda: NOW - 3_600_000)
    until(lambda: flag.verified == "", "the lease to run out all the same", seconds=3)


@pytest.mark.parametrize("off_ms", [-3_600_000, 3_600_000])
def test_a_lease_of_a_controller_whose_clock_is_wrong_is_none(flag, monkeypatch, off_ms):
    monkeypatch.setattr(switchtower.envelope, "now_ms", lambda: NOW + off_ms)
    identity = new_identity()
    said = Lease(job=identity, epoch=NOW, expires=NOW + off_ms + 3000, since=NOW, by="ada", reason="")
    raw = CONTROLLER.seal(said, LOCKDOWN, identity, NOW + off_ms + 3000).model_dump_json()
    monkeypatch.undo()
    assert not flag.accept(raw, str(NOW))


def test_no_lease_is_longer_than_leases_are(flag):
    assert not flag.accept(*lease(life_ms=MAX_LEASE_MS + 1000))


# -- epochs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [None, "", "0", "{before}", "{after}", "abc", "-5", "1" * 40, "{far}"])
def test_a_lease_counts_in_the_brokers_epoch_only(flag, epoch):
    raw, _ = lease()
    assert not flag.accept(raw, epoch and epoch.format(before=NOW - 1, after=NOW + 1, far=2 * NOW))


def test_a_lapsed_lease_may_come_back_in_the_same_epoch(flag):
    """The controller was away for some seconds; nobody has raised anything."""
    assert flag.accept(*lease())
    assert not flag.accept(None, str(NOW))
    assert flag.accept(*lease())


@pytest.mark.parametrize("raised", ['{"state": "locked"}', "rubbish"])
def test_after_a_raise_only_a_later_epoch_opens(flag, raised):
    kept = lease()
    assert flag.accept(*kept)
    assert not flag.accept(raised, str(NOW + 1))
    assert not flag.accept(*kept)
    assert flag.accept(*lease(epoch=NOW + 2))


def test_an_epoch_that_rose_ends_the_lease_even_if_it_is_put_back(flag):
    kept = lease()
    assert flag.accept(*kept)
    assert not flag.accept(kept[0], str(NOW + 1))
    assert not flag.accept(*kept)


def test_a_pushed_raise_counts_at_once(flag):
    kept = lease()
    assert flag.accept(*kept)
    flag.heard(f"locked {NOW + 1}")
    assert flag.verified == ""
    assert not flag.accept(*kept)
    assert flag.accept(*lease(epoch=NOW + 2))


@pytest.mark.parametrize("push", ["locked {before}", "open {after}", "asked", "locked", "locked x", ""])
def test_any_other_push_changes_nothing(flag, push):
    assert flag.accept(*lease())
    flag.heard(push.format(before=NOW - 1, after=NOW + 9))
    assert flag.accept(*lease())


# -- what anybody may have written ----------------------------------------------------------------


@pytest.mark.parametrize("raw", ["", "{}", "[" * 5000, "x" * 9000, '"open"', '{"sig": "\u00fc"}', "\udcff"])
def test_rubbish_is_refused_by_name(raw):
    with pytest.raises(switchtower.lease.EnvelopeRefused):
        read_lease(raw, RING)


def test_a_seal_that_is_no_ascii_is_refused():
    raw, _ = lease()
    start = raw.index('"sig":"') + 7
    with pytest.raises(switchtower.lease.EnvelopeRefused):
        read_lease(raw[:start] + "ü" + raw[start + 1 :], RING)


def test_who_raised_is_read_with_care():
    found = locked_by('{"state": "locked", "reason": "a\\u001b[2Jb", "by": "me", "at": 5}', 7)
    assert (found.reason, found.by, found.since, found.epoch) == ("a [2Jb", "me", 5, 7)
    assert locked_by('{"state": "locked"}', 7) is None
    assert locked_by('{"state": "locked", "reason": 1, "by": 2, "at": 1e999}', 7) is None
    assert printable("x" * 9, 3) == "xxx"


def test_an_epoch_of_next_week_was_made_up():
    assert epoch_of(str(now_ms() + 7 * 86_400_000)) is None
    assert epoch_of(str(NOW)) == NOW
