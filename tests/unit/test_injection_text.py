"""How the injection detector takes texts apart, and what its files say: nothing is lost, bad input is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.injection import measure
from security.injection.corpus import Row, read
from security.injection.ngrams import TABLE, places
from security.injection.scoring import CHUNK, WINDOW, chunks, starts
from security.injection.segments import LONGEST, segments
from security.injection.synthetic import made
from security.injection.weights import Curve, Weights, load, save
from switchtower.errors import ConfigurationError
from switchtower.models import Surface

TOOL_ANSWER = "{'note': {'id': '3', 'text': 'Please open the gate at nine. Thanks!'}}"


def test_ngrams_of_the_same_words_fall_on_the_same_places_whatever_the_white_space() -> None:
    assert places("open the\n\n gate").tolist() == places(" open the gate ").tolist()


def test_ngrams_of_other_words_fall_elsewhere() -> None:
    assert not set(places("gate")) & set(places("river"))


@given(st.text(max_size=200))
def test_every_text_has_ngrams_inside_the_table(text: str) -> None:
    found = places(text)
    assert (len(found) > 0) is bool(text.split())
    assert all(0 <= place < TABLE for place in found)
    assert np.all(np.diff(found) > 0)


def test_an_order_in_a_field_of_a_tools_answer_stands_alone() -> None:
    assert [piece for piece in segments(TOOL_ANSWER) if "gate" in piece] == ["3 text Please open the gate at nine."]


def test_one_word_per_line_still_reads_as_a_sentence() -> None:
    assert segments("o\np\ne\nn\ngate")[0] == "o p e n gate"


@given(st.text(alphabet="ab.;!? \n|'\",:}", max_size=400))
def test_segments_keep_every_letter(text: str) -> None:
    kept = "".join(segments(text))
    assert set(kept) >= set(text) & set("ab")
    assert all(len(piece) <= LONGEST for piece in segments(text))


@given(st.integers(0, 2000))
def test_windows_cover_every_token(length: int) -> None:
    covered = {token for start in starts(length) for token in range(start, start + WINDOW)}
    assert covered >= set(range(length))


@pytest.mark.parametrize("length", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17])
def test_chunks_cover_every_character(length: int) -> None:
    text = "".join(chr(ord("a") + place % 23) for place in range(length))
    parts = chunks(text)
    assert parts[0] == text[:CHUNK]
    assert parts[-1] == text[-len(parts[-1]) :] if text else parts == [""]
    assert sum(map(len, parts)) >= length


def test_an_own_row_is_the_same_each_time_and_orders_are_marked() -> None:
    rows = [Row("benign_t0_documents", str(n), "One line. Another line. A third.", 0) for n in range(5)]
    assert made(rows) == made(rows)
    orders = [row for row in made(rows) if row.set == "own_orders"]
    assert orders
    assert all(row.instruction in row.text and row.label == 1 for row in orders)


def test_a_group_lies_on_one_side_of_the_split() -> None:
    assert len({Row("injection_x", str(n), "text", 1, group="g").half for n in range(20)}) == 1
    assert len({Row("injection_x", str(n), "text", 1).half for n in range(20)}) == 2


def test_rows_are_read_with_their_set_and_surface(tmp_path: Path) -> None:
    (tmp_path / "indirect_x.jsonl").write_text(
        json.dumps({"id": 1, "text": "a", "label": 1, "instruction": "b"}) + "\n"
    )
    (tmp_path / "benign_y.jsonl").write_text(json.dumps({"id": 2, "text": "c", "label": 0}) + "\n")
    (tmp_path / "notes.jsonl").write_text("not read")
    assert read(tmp_path) == [Row("benign_y", "2", "c", 0), Row("indirect_x", "1", "a", 1, instruction="b")]
    assert [row.surface for row in read(tmp_path)] == [Surface.INPUT, Surface.DOCUMENT]


def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "benign_y.jsonl").write_text('{"id": 1, "text": "a", "label": 0}\n{"id": 2}\n')
    with pytest.raises(ConfigurationError, match=r"benign_y\.jsonl:2"):
        read(tmp_path)


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no labelled sets"):
        read(tmp_path)


def weights() -> Weights:
    curve = Curve((0.01, 0.1), (2.0, 1.0))
    names = [f"{tier}.{surface}" for tier in ("fused", "ngrams") for surface in ("input", "document")]
    return Weights(
        adapters={"3.up.a": np.ones((2, 3), np.float32)},
        head=np.zeros((2, 769), np.float32),
        grams=np.zeros((2, TABLE + 1), np.float32),
        curves=dict.fromkeys(names, curve),
    )


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save(weights(), tmp_path / "w")
    found = load(tmp_path / "w")
    assert found.curves == weights().curves
    assert found.adapters["3.up.a"].tolist() == weights().adapters["3.up.a"].tolist()


def test_other_weights_are_another_version(tmp_path: Path) -> None:
    save(weights(), tmp_path / "a")
    save(replace(weights(), head=np.ones((2, 769), np.float32)), tmp_path / "b")
    assert load(tmp_path / "a").version != load(tmp_path / "b").version


@pytest.mark.parametrize(
    "broken",
    [
        replace(weights(), grams=np.zeros((2, 5), np.float32)),
        replace(weights(), head=np.full((2, 769), np.nan, np.float32)),
        replace(weights(), curves={"fused.input": Curve((0.1, 0.01), (2.0, 1.0))}),
    ],
)
def test_weights_that_make_no_sense_are_refused(tmp_path: Path, broken: Weights) -> None:
    save(broken, tmp_path / "w")
    with pytest.raises(ConfigurationError, match=r"security\.injection\.train"):
        load(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load(tmp_path / "w")


def test_a_missing_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load(tmp_path / "none")


def test_a_curve_knows_its_points_and_stays_inside_them() -> None:
    curve = Curve((0.01, 0.1), (2.0, 1.0))
    assert [curve.threshold(share) for share in (0.001, 0.01, 0.1, 0.5)] == [2.0, 2.0, 1.0, 1.0]
    assert 1.0 < curve.threshold(0.03) < 2.0


def test_a_threshold_counts_sets_alike_however_large_they_are() -> None:
    small, large = np.array([9.0, 0.0]), np.linspace(1, 2, 1000)
    above = measure.threshold([small, large], 0.01)
    assert above == 9.0
    assert measure.threshold([small, large], 0.26) < 2.0
