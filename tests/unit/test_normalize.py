"""The views of a text: what is removed, what is folded, and what is left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.normalize import INVISIBLE, clean, fold, unquote, views
from switchtower.models import Surface

ASCII = st.text(st.characters(max_codepoint=127))


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("r\u200bm", "rm"),
        ("r\u00adm", "rm"),
        ("\ufeffrm", "rm"),
        ("a\u202eb\u2069c", "abc"),
        ("\uff52\uff4d\u3000\uff0d\uff52\uff46", "rm -rf"),
        ("\U0001d422\U0001d420\U0001d427", "ign"),
        ("a\u00a0b", "a b"),
        ("a\u2028b", "a\nb"),
        ("\U000e0061rm", "rm"),
    ],
)
def test_clean_undoes_a_disguise(disguised: str, plain: str) -> None:
    assert clean(disguised) == plain


def test_clean_keeps_case_and_fold_does_not() -> None:
    assert clean("Straße\u200b") == "Straße"
    assert fold("Straße\u200b") == "strasse"


@given(ASCII)
def test_ascii_is_clean_already(text: str) -> None:
    assert clean(text) == text
    assert fold(text) == text.casefold()


@given(st.text())
def test_fold_leaves_nothing_invisible_and_nothing_composed(text: str) -> None:
    folded = fold(text)
    assert INVISIBLE.isdisjoint(map(ord, folded))
    assert unicodedata.is_normalized("NFKC", folded)


@given(st.text(), st.integers(0, 30), st.sampled_from(sorted(INVISIBLE)))
def test_an_invisible_character_changes_no_clean_text(text: str, place: int, code: int) -> None:
    assert clean(text[:place] + chr(code) + text[place:]) == clean(text)


@pytest.mark.parametrize(
    ("command", "read"),
    [
        ("'rm' \"-rf\" /", "rm -rf /"),
        ("r\\m -rf /", "rm -rf /"),
        ("rm \\\n-rf /", "rm -rf /"),
        ("rm${ifs}-rf$ifs/", "rm -rf /"),
        ("$'rm' -rf /", "rm -rf /"),
        ("echo `rm -rf /`", "echo ;rm -rf /;"),
    ],
)
def test_unquote_reads_words_as_a_shell_does(command: str, read: str) -> None:
    assert unquote(command) == read


def test_views_hold_no_reading_twice() -> None:
    assert views("plain text", Surface.INPUT) == ("plain text",)
    assert views("Plain", Surface.INPUT) == ("Plain", "plain")
    assert views("'Ls'", Surface.COMMAND) == ("'Ls'", "'ls'", "ls")


@given(st.text(), st.sampled_from(Surface))
def test_the_text_itself_is_the_first_view(text: str, surface: Surface) -> None:
    assert views(text, surface)[0] == text
