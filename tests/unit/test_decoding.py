"""Text as it may be shown: whole characters, no stop strings, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.engine.decoding import Detokenizer, StopGuard


def as_bytes(ids):
    return bytes(ids).decode(errors="replace")


def stripping(ids):
    return as_bytes(ids).removeprefix(" ")


@given(st.text(max_size=30))
def test_pieces_are_whole_characters_and_join_to_the_text(text):
    detokenizer = Detokenizer(as_bytes)
    pieces = [detokenizer.feed(byte) for byte in text.encode()]
    assert "".join(pieces) + detokenizer.flush() == text
    assert all(piece in text for piece in pieces)


def test_an_emoji_waits_for_its_last_byte():
    detokenizer = Detokenizer(as_bytes)
    assert [detokenizer.feed(byte) for byte in "🚂".encode()] == ["", "", "", "🚂"]


def test_bytes_that_are_no_text_do_not_wait_for_ever():
    detokenizer = Detokenizer(as_bytes)
    assert any(detokenizer.feed(0xFF) for _ in range(4))


def test_spaces_survive_a_tokenizer_that_strips_them():
    detokenizer = Detokenizer(stripping)
    assert "".join(detokenizer.feed(byte) for byte in b"a b c") == "a b c"


def streamed(stops, pieces):
    guard = StopGuard(stops)
    shown = [guard.feed(piece) for piece in pieces]
    return "".join(shown) + guard.flush(), guard.hit


@pytest.mark.parametrize(
    ("stops", "text", "shown"),
    [
        (["END"], "an ENDing", "an "), (["END"], "an EN", "an EN"), (["END", "n E"], "an END", "a"),
        ([], "anything", "anything"), ([""], "anything", "anything"), (["aab"], "aaab", "a"),
        (["\n\n"], "a\nb\n\nc", "a\nb"),
    ],
)  # fmt: skip
def test_a_stop_string_ends_the_text_however_it_is_cut(stops, text, shown):
    for width in range(1, len(text) + 1):
        pieces = [text[start : start + width] for start in range(0, len(text), width)]
        assert streamed(stops, pieces) == (shown, shown != text)


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_character_by_character_nothing_but_the_stop_is_lost(text, stops):
    shown, hit = streamed(stops, text)
    assert text.startswith(shown)
    assert hit == any(stop in text for stop in stops)
    assert not any(stop in shown for stop in stops)
    assert hit or shown == text
