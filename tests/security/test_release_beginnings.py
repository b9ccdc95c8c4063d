"""Beginnings of patterns: every prefix of every match is one, and little else is."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from security.beginnings import Beginnings, NoBeginnings, beginnings
from security.packs import RulePack
from switchtower.models import Surface

ALL_RULES = RulePack.load().rules

MATCHES = [
    ("abc", "abc"),
    ("a|bc|d", "bc"),
    ("ab*c", "abbbc"),
    ("ab+?c", "abbc"),
    ("ab{2,3}c", "abbbc"),
    ("a{3}", "aaa"),
    ("(?:ab|cd){2,}e", "abcdabe"),
    ("(ab(?:c|d)){1,2}?e", "abcabde"),
    ("(?P<name>a)(?<other>b)c", "abc"),
    ("(?i)ab(?-i)c", "ABc"),
    ("(?i:ab)c", "aBc"),
    ("x(?i)ab|cd", "CD"),
    (r"\bfoo\b-\bbar", "foo-bar"),
    (r"foo\Bbar", "foobar"),
    (r"-\bfoo", "-foo"),
    (r"a(?m:$)\n(?m:^)b", "a\nb"),
    (r"[]x-]+[^]a][[:alpha:]][\]\\]", "]x-qb]"),
    (r"\p{Lu}\pL\x41\x{1F600}\d\.\{", "ÄöA😀7.{"),
    (r"a{,2}b{x", "a{,2}b{x"),
    (r"\101\n", "A\n"),
    ("a?b?c?d", "abcd"),
    ("(?:a(?:b(?:c)?)?d)+e", "adabdabcde"),
    ("(?:)a", "a"),
]


@pytest.mark.parametrize(("pattern", "match"), MATCHES)
def test_every_prefix_of_a_match_is_a_beginning(pattern, match):
    assert re2.fullmatch(pattern, match)
    found = Beginnings([pattern])
    for length in range(1, len(match) + 1):
        assert found.start("_ " + match[:length]) <= 2, match[:length]


@pytest.mark.parametrize(
    ("pattern", "text"), [("abc", "abd"), ("abc", "ab c"), (r"\bab", "xab"), ("a{2}b", "aac"), ("(?:ab|cd)e", "abd")]
)
def test_what_can_become_no_match_is_none(pattern, text):
    assert Beginnings([pattern]).start(text) >= len(text) - 1


def test_the_earliest_beginning_counts():
    found = Beginnings(["one two", "two three", "two[ ]two"])
    assert found.start("one tw") == 0
    assert found.start("one two two") == 4
    assert found.start("nothing") == len("nothing")


@pytest.mark.parametrize("pattern", [r"\Qab\E", r"a\C", "(ab", "ab)", "a**", "\\", "[ab"])
def test_what_is_not_understood_is_said(pattern):
    with pytest.raises((NoBeginnings, ValueError)):
        Beginnings([pattern])


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.name)
def test_every_rule_has_beginnings_that_hold_for_its_own_examples(rule):
    found = Beginnings([rule.spelled])
    for example in rule.matches:
        for match in re2.finditer(rule.spelled, example):
            for end in range(match.start() + 1, match.end() + 1):
                assert found.start(example[:end]) <= match.start()


def test_all_rules_for_answers_fit_into_one():
    answers = [rule.spelled for rule in ALL_RULES if Surface.OUTPUT in rule.applies_to]
    text = "In the middle of plain words nothing has begun, "
    assert not text[Beginnings(answers).start(text) :].strip()


atoms = st.sampled_from(["a", "b", "[ab]", "[^c]", ".", r"\w", r"\b", r"\B", "(?i)", "^", "$"])
signs = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])
patterns = st.recursive(
    st.builds(lambda atom, sign: atom + (sign if atom not in {r"\b", r"\B", "(?i)", "^", "$"} else ""), atoms, signs),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.builds(lambda parts, sign: f"(?:{'|'.join(parts)}){sign}", st.lists(inner, min_size=1, max_size=3), signs),
    ),
    max_leaves=8,
)


@given(patterns, st.text(alphabet="abAB c\n", max_size=8))
def test_no_pattern_and_no_text_is_an_exception(pattern, text):
    """Whatever matches in a text was a beginning at each of its characters."""
    found = Beginnings([pattern])
    match = re2.search(pattern, text)
    for end in range(match.start() + 1, match.end() + 1) if match else ():
        assert found.start(text[:end]) <= match.start(), beginnings(pattern)
