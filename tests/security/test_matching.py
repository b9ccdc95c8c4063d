"""Matching: whatever engine searches, the same patterns match; what cannot be read alike is refused."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from security.matching import MatcherError, SpellingError, engines, matcher, portable, refusal
from security.matching.sets import SetMatcher
from security.packs import RulePack
from switchtower.models import Surface

hyperscan = pytest.importorskip("hyperscan")

PACK = RulePack.load()
PATTERNS = {surface: tuple(rule.spelled for rule in PACK.on(surface)) for surface in Surface}
EXAMPLES = sorted({text for rule in PACK.rules for text in (*rule.matches, *rule.passes)})


def hits(patterns: tuple[str, ...], text: str) -> list[frozenset[int]]:
    """What each engine finds."""
    return [matcher(patterns, engine).search(text) for engine in engines()]


def agree(patterns: tuple[str, ...], text: str) -> frozenset[int]:
    """What all engines find; fails where they differ."""
    found = hits(patterns, text)
    assert len(set(found)) == 1, (text, found)
    return found[0]


# All rules, on all kinds of texts


def test_both_engines_are_tried():
    assert list(engines()) == ["hyperscan", "re2"]


@pytest.mark.parametrize("surface", Surface)
def test_the_engines_agree_on_every_example_of_every_rule(surface):
    found = [agree(PATTERNS[surface], text) for text in EXAMPLES]
    assert len(frozenset().union(*found)) > len(PATTERNS[surface]) / 2


EDGES = [
    *("", "\0", "a\0b", "\n", "\n\n", "x\n", "\r\n", "\x0b", "\x85", "\u2028", "\ufffd"),
    *("\u212a", "\u017f", "\U0010ffff", " " * 9),
]
CUTS = st.integers(0, 200)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An example of a rule, cut, stretched, joined with another, in other letters."""
    text = draw(st.sampled_from(EXAMPLES))
    place, end = sorted((draw(CUTS), draw(CUTS)))
    text = draw(st.sampled_from([text, text.upper(), text.swapcase(), text[place:], text[:place], text[place:end]]))
    between = draw(st.one_of(st.sampled_from(EDGES), st.text(max_size=5)))
    place = draw(st.integers(0, len(text)))
    return text[:place] + between + text[place:] + draw(st.sampled_from(["", "\n", between, *EXAMPLES]))


@settings(max_examples=400)
@given(mutated(), st.sampled_from(Surface))
def test_the_engines_agree_on_changed_examples(text, surface):
    agree(PATTERNS[surface], text)


@settings(max_examples=300)
@given(st.text(st.characters(codec="utf-8")), st.sampled_from(Surface))
def test_the_engines_agree_on_any_text(text, surface):
    agree(PATTERNS[surface], text)


@pytest.mark.parametrize("surface", Surface)
def test_the_engines_agree_on_long_texts(surface):
    prose = "The tower's signal, number 4, stands at https://example.org/a?b=c&d=%20e. "
    for text in (prose * 3000, "ignore " * 20_000, "a" * 200_000, "é" * 90_000 + EXAMPLES[0], "\n" * 50_000):
        agree(PATTERNS[surface], text)


# Small patterns, where the syntaxes differ

TRAPS = [
    (r"a$", "a\n", False),
    (r"(?m:a$)", "a\nb", True),
    (r"(?m:^)b", "a\nb", True),
    (r"^b", "a\nb", False),
    (r"(?m)^b$(?-m)", "a\nb\nc", True),
    (r"a\z", "a\n", False),
    (r"a.b", "a\nb", False),
    (r"(?s:a.b)", "a\nb", True),
    (r"a.b", "aéb", True),
    (r"a.b", "a\x85b", True),
    (r"a\sb", "a\x0bb", False),
    (r"a\Sb", "a\x0bb", True),
    (r"a[\s]b", "a\x0bb", False),
    (r"a[^\s]b", "a\x0bb", True),
    (r"a[\S]b", "a\x0bb", True),
    (r"a[\s-.]b", "a,b", False),
    (r"a\wb", "aéb", False),
    (r"a\Wb", "aéb", True),
    (r"é\bb", "éb", True),
    (r"a\b", "aé", True),
    (r"é\Bß", "éß", True),
    (r"straße", "STRASSE", False),
    (r"kiss", "KISS", True),
    (r"kiss", "\u212aISS", False),
    (r"ki[s]{2}|x", "ki\u017f\u017f", False),
    (r"[k]|x", "\u212a", False),
    (r"[kK]|A", "\u212a", False),
    (r"Kiss", "kiss", False),
    (r"(?i:kiss) Me", "KISS Me", True),
    (r"(?i)kiss(?-i) Me", "KISS ME", False),
    (r"[c-f]g", "Eg", True),
    (r"[^a-f]g", "Eg", False),
    (r"[[:lower:]]1", "A1", True),
    (r"\x{e9}", "é", True),
    (r"a\x0B\x{4B}b", "A\x0bKB", True),
    (r"[\x{400}-\x{4ff}]", "и", True),
    (r"a]b}c", "A]B}C", True),
    (r"[]a-c]x", "]x", True),
    (r"[^]]x", "]x", False),
    (r"(?P<name>ab)", "AB", True),
    (r"a{2,3}b", "aab", True),
    (r"a{,2}b", "a{,2}b", True),
    (r"a\x00b", "a\0b", True),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), TRAPS)
def test_a_pattern_means_the_same_to_every_engine(pattern, text, matches):
    assert refusal(pattern) is None
    assert (agree((portable(pattern),), text) == {0}) is matches


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"\pL", "versions of Unicode"),
        (r"[\p{Greek}x]", "versions of Unicode"),
        (r"\Qa.b\E", "backslash"),
        (r"a\101", r"\x{…}"),
        (r"a\v", r"\x0b"),
        (r"[\v]a", r"\x0b"),
        (r"a\C", "whole characters"),
        (r"(?U)a+", "leave it out"),
        ("a\0b", r"\x00"),
        ("(?=a)", "not RE2 syntax"),
        (r"(a)\1", "not RE2 syntax"),
        ("a*", "matches the empty text"),
        ("\ud800", "not RE2 syntax"),
    ],
)
def test_what_cannot_be_read_alike_is_refused(pattern, said):
    assert said in str(refusal(pattern))


def test_what_hyperscan_refuses_is_an_error():
    with pytest.raises(MatcherError, match="Embedded end anchors not supported"):
        matcher((portable("(?:a|$)b?c$d"),), "hyperscan")


ATOMS = st.sampled_from(
    [
        *("a", "k", "S", "é", "ß", r"\n", r"\s", r"\S", r"\w", r"\W", r"\d", r"\b", r"\B", "^", "$"),
        *(
            "(?m:^)",
            "(?m:$)",
            r"\A",
            r"\z",
            ".",
            "(?s:.)",
            "[ab]",
            "[kK]",
            "[s]",
            "[^a]",
            r"[^\s]",
            r"[\S]",
            "[a-é]",
            r"[\s\d-]",
        ),
        *("-", "[]a]", "[[:space:]]", "[[:^alpha:]]", "(?i:k)"),
    ]
)
SIGNS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}"])
GROUPS = st.sampled_from(["(?:{})", "({})", "(?m:{})", "(?i:{})", "(?:{}|b)"])
PATTERN = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.builds(lambda group, body, sign: group.format(body) + sign, GROUPS, inner, SIGNS),
    ),
    max_leaves=6,
)
LETTERS = st.text("aAbkKsSéßx \n\r\t\x0b-]1_\u212a\u017f\u2028\x00😀", max_size=8)


@settings(max_examples=300)
@given(PATTERN, st.lists(LETTERS, min_size=1, max_size=10))
def test_any_pattern_that_is_not_refused_means_the_same(pattern, texts):
    if refusal(pattern):
        return
    spelled = (portable(pattern),)
    try:
        fast = engines()["hyperscan"](spelled)
    except MatcherError:
        return
    plain = SetMatcher(spelled)
    for text in texts:
        assert fast.search(text) == plain.search(text), text


@settings(max_examples=300)
@given(PATTERN, LETTERS)
def test_the_spelling_keeps_the_meaning(pattern, text):
    if refusal(pattern) or "k" in text.casefold() or "s" in text.casefold():
        return
    spelled = portable(pattern)
    asked = pattern if "S" in pattern.replace(r"\S", "") else f"(?i:{pattern})"
    assert bool(re2.search(spelled, text)) == bool(re2.search(asked, text))


# Failure, threads, forks


@pytest.mark.parametrize("engine", ["hyperscan", "re2"])
def test_many_threads_share_a_matcher(engine):
    shared = matcher(PATTERNS[Surface.INPUT], engine)
    expected = [shared.search(text) for text in EXAMPLES]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [shared.search(text) for text in EXAMPLES], range(16)):
            assert found == expected


def test_a_fork_goes_on_searching():
    shared = matcher(("needle", "thread"), "hyperscan")
    assert shared.search("a needle") == {0}
    child = os.fork()
    if not child:
        os._exit(0 if shared.search("needle and thread") == {0, 1} else 1)
    assert os.waitpid(child, 0)[1] == 0


class Failing:
    """A database whose scan fails."""

    def scan(self, *_: object) -> None:
        raise hyperscan.ScratchInUseError("error code -10")


def test_a_scan_that_fails_is_an_error_not_a_pass(monkeypatch):
    failing = engines()["hyperscan"](("a",))
    failing.search("a")
    monkeypatch.setattr(failing, "_database", Failing())
    with pytest.raises(MatcherError, match="Hyperscan"):
        failing.search("b")


class Exhausted:
    """A set whose memory has run out: RE2 then reports no match."""

    def Match(self, text: bytes) -> None:  # noqa: N802 - the engine's name
        """Nothing."""


def test_a_set_without_memory_is_an_error_not_a_pass(monkeypatch):
    exhausted = SetMatcher(("a",))
    monkeypatch.setattr(exhausted, "_set", Exhausted())
    with pytest.raises(MatcherError, match="out of memory"):
        exhausted.search("b")


def test_patterns_that_do_not_fit_into_memory_are_an_error(monkeypatch):
    monkeypatch.setattr("security.matching.sets.MAX_MEM", 4096)
    with pytest.raises(MatcherError, match="RE2"):
        SetMatcher(PATTERNS[Surface.INPUT])


@pytest.mark.parametrize("engine", ["hyperscan", "re2"])
def test_half_characters_are_no_text(engine):
    with pytest.raises(UnicodeEncodeError):
        matcher(("a",), engine).search("a\ud800")


def test_without_hyperscan_re2_searches(monkeypatch):
    monkeypatch.setitem(sys.modules, "hyperscan", None)
    monkeypatch.delitem(sys.modules, "security.matching.scanner", raising=False)
    engines.cache_clear()
    try:
        assert list(engines()) == ["re2"]
        assert matcher(("only in this test",)).engine == "re2"
    finally:
        engines.cache_clear()
        matcher.cache_clear()


def test_spelling_errors_are_value_errors():
    with pytest.raises(SpellingError):
        portable(r"\pL")
    assert issubclass(SpellingError, ValueError)
