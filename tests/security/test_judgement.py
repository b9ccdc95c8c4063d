"""What a controller decides about what it sees: in every doubt, to lock."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.lockdown.alarm import locked_value
from security.lockdown.judgement import Finding, judge, see
from security.lockdown.memory import Memory
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.lease import Lease
from switchtower.messages import new_identity, now_ms
from switchtower.queues import LOCKDOWN

CONTROLLER = Signer.create(Role.CONTROLLER)
RING = KeyRing.of(CONTROLLER)
EPOCH = now_ms() - 10_000
OPEN = Memory(epoch=EPOCH, open=True, reason="well", by="ada", since=EPOCH)
LOCKED = OPEN.model_copy(update={"open": False})


def lease(epoch, life_ms=4000):
    identity, expires = new_identity(), now_ms() + life_ms
    said = Lease(job=identity, epoch=epoch, expires=max(expires, 1), since=epoch, by="ada", reason="well")
    return CONTROLLER.seal(said, LOCKDOWN, identity, expires).model_dump_json()


RAISED = locked_value("smoke", "the stoker", EPOCH)
FLAGS = {
    "lease": lambda: lease(EPOCH),
    "older": lambda: lease(EPOCH - 1),
    "newer": lambda: lease(EPOCH + 1),
    "lapsed": lambda: lease(EPOCH, -1),
    "none": lambda: None,
    "raised": lambda: RAISED,
    "rubbish": lambda: "rubbish",
}
KNOWN = {"open": OPEN, "locked": LOCKED, "nothing": Memory()}


def found(flag, off, known, *, alive=False):
    """The finding for a flag, an epoch so much off the one that is known, and what is known of it."""
    epoch = None if off is None else str(EPOCH + off)
    return judge(see(FLAGS[flag](), epoch, RING), KNOWN[known], alive).finding


@pytest.mark.parametrize(
    ("flag", "off", "known", "finding"),
    [
        ("lease", 0, "open", Finding.OPEN),
        ("none", 0, "open", Finding.LAPSED),
        ("lapsed", 0, "open", Finding.LAPSED),
        ("raised", 1, "open", Finding.LOCKED),
        ("raised", 0, "locked", Finding.LOCKED),
        ("newer", 1, "open", Finding.OPEN),  # another controller has opened it
        ("newer", 1, "locked", Finding.OPEN),
        ("lease", 0, "nothing", Finding.OPEN),  # a new controller joins
        # From here on something is wrong.
        ("lease", 0, "locked", Finding.DOUBTFUL),
        ("older", 0, "open", Finding.DOUBTFUL),
        ("newer", 0, "open", Finding.DOUBTFUL),
        ("lease", 1, "open", Finding.DOUBTFUL),
        ("older", -1, "open", Finding.DOUBTFUL),
        ("lease", None, "open", Finding.DOUBTFUL),
        ("none", None, "open", Finding.DOUBTFUL),
        ("none", None, "nothing", Finding.DOUBTFUL),
        ("none", 0, "locked", Finding.DOUBTFUL),
        ("none", 0, "nothing", Finding.DOUBTFUL),
        ("none", 1, "open", Finding.DOUBTFUL),
        ("lapsed", 0, "locked", Finding.DOUBTFUL),
        ("rubbish", 0, "open", Finding.DOUBTFUL),
        ("raised", 0, "open", Finding.DOUBTFUL),  # written past `engage`, which counts the epoch up
    ],
)
def test_what_stands_on_the_broker(flag, off, known, finding):
    assert found(flag, off, known) is finding


def test_a_lease_that_cannot_have_run_out_was_deleted():
    assert found("none", 0, "open", alive=True) is Finding.DOUBTFUL
    assert found("lease", 0, "open", alive=True) is Finding.OPEN


def test_a_doubt_has_a_reason():
    sight = see(None, str(EPOCH - 1), RING)
    assert "older" in judge(sight, OPEN, alive=False).reason


@given(
    raw=st.one_of(st.none(), st.text(), st.sampled_from([json.dumps({"state": "open"}), RAISED])),
    epoch=st.one_of(st.none(), st.text(), st.integers().map(str), st.just(str(EPOCH))),
    is_open=st.booleans(),
    alive=st.booleans(),
)
def test_without_a_controllers_seal_nothing_opens_but_what_lapsed(raw, epoch, is_open, alive):
    memory = OPEN if is_open else LOCKED
    finding = judge(see(raw, epoch, RING), memory, alive).finding
    assert finding is not Finding.OPEN
    if finding is Finding.LAPSED:
        assert is_open
        assert not raw
        assert epoch == str(EPOCH)
        assert not alive
