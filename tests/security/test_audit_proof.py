"""The proof: whatever is done to the chain afterwards, the first row that was touched is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.audit.proof import Walk
from security.audit.queries import Stored
from security.audit.rows import COLUMNS
from switchtower.envelope import KeyRing, Role
from tests.support.trail import Keys, chained, rechained, stored, told

KEYS = Keys()
ROWS = KEYS.chain(12)
HEADS = {row.seq: row.hash for row in ROWS if row.seq in (4, 9, 12)}


def walk(rows, heads=HEADS, ring=KEYS.ring):
    """Walk along the rows; `seen` counts those that were found sound."""
    found = Walk(ring, heads)
    found.seen = sum(1 for _ in found.along(rows if rows and isinstance(rows[0], Stored) else stored(rows)))
    return found


def test_what_was_written_is_sound():
    found = walk(ROWS)
    assert (found.flaw, found.last.seq, found.seen, found.witnessed) == (None, 12, 12, 12)


def test_an_empty_trail_is_sound_until_a_head_says_that_there_was_more():
    assert walk([], {}).flaw is None
    assert walk([]).flaw.seq == 1


def other(value):
    """A value that differs in one character or one unit."""
    if value is None:
        return "x"
    if isinstance(value, int):
        return value + 1
    return ("b" if value[0] == "a" else "a") + value[1:]


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "seq"])
@pytest.mark.parametrize("seq", [1, 6, 12])
@pytest.mark.parametrize("ring", [KEYS.ring, None], ids=["seals", "chain"])
def test_one_changed_column_names_the_row(seq, column, ring):
    rows = list(ROWS)
    rows[seq - 1] = replace(rows[seq - 1], **{column: other(getattr(rows[seq - 1], column))})
    found = walk(rows, ring=ring)
    assert (found.flaw.seq, found.seen) == (seq, seq - 1)


def test_the_seal_tells_which_column_was_changed():
    rows = list(ROWS)
    rows[4] = replace(rows[4], outcome="block")
    assert "changed: outcome" in walk(rows).flaw.what


@given(st.data())
@settings(max_examples=200)
def test_one_flipped_bit_anywhere_names_the_row(data):
    index = data.draw(st.integers(0, len(ROWS) - 1))
    column = data.draw(st.sampled_from([name for name in COLUMNS if isinstance(getattr(ROWS[index], name), str)]))
    raw = bytearray(getattr(ROWS[index], column).encode())
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    rows = list(ROWS)
    rows[index] = replace(rows[index], **{column: raw.decode(errors="replace")})
    assert walk(rows).flaw.seq == index + 1


@pytest.mark.parametrize("facts", ['{"n":6}', '{"n":5.0000000000000001}', '{"n":true}', "{}", "[", '{"n":"5"}', "null"])
def test_the_queryable_copy_of_the_facts_is_held_against_the_hashed_one(facts):
    rows = stored(ROWS)
    rows[5] = Stored(ROWS[5], facts)
    found = walk(rows)
    assert (found.flaw.seq, found.seen) == (6, 5)


@pytest.mark.parametrize("seq", [1, 5, 12])
def test_a_row_that_is_gone_is_missing(seq):
    found = walk([row for row in ROWS if row.seq != seq])
    assert found.flaw.seq == seq
    assert found.flaw.what.startswith("missing")


def test_a_row_that_was_put_in_between():
    stranger = chained([KEYS.reader().read(KEYS.note(told()))])[0]
    rows = [*ROWS[:5], replace(stranger, seq=6, prev_hash=ROWS[4].hash), *ROWS[5:]]
    assert walk(rows).flaw.seq == 6
    rows[5] = replace(rows[5], hash=rows[5].expected_hash())
    assert walk(rows).flaw.seq == 6, "its hash fits, and yet there are two rows of this number"


def test_two_rows_that_changed_places():
    swapped = list(ROWS)
    swapped[3], swapped[7] = replace(ROWS[7], seq=4), replace(ROWS[3], seq=8)
    assert walk(swapped).flaw.seq == 4


def test_an_end_that_was_cut_off():
    found = walk(ROWS[:10])
    assert (found.flaw.seq, found.seen) == (11, 10)
    assert "signed row 12" in found.flaw.what


def test_a_history_that_was_rewritten_without_a_fault_contradicts_a_signed_head():
    forged = list(ROWS)
    forged[6] = replace(forged[6], outcome="block", seal=None, sealed_by="nobody", kid=None)
    found = walk(rechained(forged, 6))
    assert found.flaw.seq == 9
    assert "rows 5 to 9" in found.flaw.what


def test_a_rewritten_row_that_keeps_its_sources_name_is_found_by_the_source_s_seal():
    forged = list(ROWS)
    forged[6] = replace(forged[6], outcome="block")
    assert (walk(rechained(forged, 6)).flaw.seq, walk(rechained(forged, 6)).flaw.what) == (
        7,
        "its source sealed something else (column outcome)",
    )


@pytest.mark.parametrize("changed", [{"sealed_by": "controller"}, {"kid": "another"}, {"seal": None}, {"seal": "{}"}])
def test_a_row_cannot_borrow_a_name(changed):
    forged = list(ROWS)
    forged[2] = replace(forged[2], **changed)
    assert walk(rechained(forged, 2)).flaw.seq == 3


def test_seals_by_keys_that_left_the_ring_are_counted_and_bound_by_the_chain_alone():
    auditor = KeyRing.of(KEYS.signers[Role.AUDITOR])
    found = walk(ROWS, ring=auditor)
    assert (found.flaw, found.unknown_keys) == (None, 12)
