"""The mirror of signed heads: what the auditor has vouched for, outside of the database."""

from __future__ import annotations

import stat

import pytest

from security.audit.heads import Mirror
from security.audit.rows import Mark
from switchtower.envelope import Role
from switchtower.errors import AuditBroken
from tests.support.trail import Keys

KEYS = Keys()
AUDITOR = KEYS.signers[Role.AUDITOR]


def mark(seq):
    return Mark(seq, f"{seq:064x}")


@pytest.fixture
def mirror(tmp_path):
    made = Mirror(tmp_path / "audit" / "heads.jsonl", KEYS.ring)
    for seq in (10, 20, 30):
        made.append(mark(seq), AUDITOR)
    return made


def test_heads_are_read_as_they_were_signed(mirror):
    assert [line.head.mark for line in mirror.all()] == [mark(10), mark(20), mark(30)]
    assert mirror.latest().mark == mark(30)
    assert mirror.find(mark(20).hash).seq == 20
    assert mirror.find(mark(25).hash) is None


def test_nobody_else_may_read_the_file(mirror):
    assert stat.S_IMODE(mirror.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(mirror.path.parent.stat().st_mode) == 0o700


def test_no_mirror_yet(tmp_path):
    mirror = Mirror(tmp_path / "none", KEYS.ring)
    assert (mirror.latest(), mirror.find("0" * 64), list(mirror.all())) == (None, None, [])


def test_half_a_line_is_no_head_and_is_dropped_by_the_next(mirror):
    whole = mirror.path.read_bytes()
    mirror.path.write_bytes(whole + whole[:100])
    assert mirror.latest().mark == mark(30)
    assert len(list(mirror.all())) == 3
    mirror.append(mark(40), AUDITOR)
    assert [line.head.seq for line in mirror.all()] == [10, 20, 30, 40]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.AUDITOR])
def test_a_head_in_anybody_elses_name_is_none(mirror, role):
    mirror.append(mark(40), KEYS.signers[role])
    assert mirror.latest().mark == mark(30)
    assert mirror.find(mark(40).hash) is None
    with pytest.raises(AuditBroken, match=r"heads\.jsonl:4"):
        list(mirror.all())


@pytest.mark.parametrize(("old", "new"), [('\\"seq\\":20', '\\"seq\\":21'), ("auditor", "gpu"), ("{", "[")])
def test_a_changed_line_is_named(mirror, old, new):
    lines = mirror.path.read_text().splitlines()
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new, 1)
    mirror.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(AuditBroken, match=r"heads\.jsonl:2"):
        list(mirror.all())


def test_heads_that_go_back_are_no_mirror(mirror):
    mirror.append(mark(5), AUDITOR)
    with pytest.raises(AuditBroken, match="the head 5 stands after the head 30"):
        list(mirror.all())


def test_bytes_that_are_no_text_are_no_head(mirror):
    mirror.path.write_bytes(mirror.path.read_bytes() + b"\xff\xfe\n")
    assert mirror.latest().mark == mark(30)
    with pytest.raises(AuditBroken, match=r"heads\.jsonl:4"):
        list(mirror.all())
