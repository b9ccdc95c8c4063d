"""The sliding window: nothing of what is refused gets out before, plain words hardly wait, the cost is linear."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from security.guardrails import Guardrail
from security.packs import RulePack
from security.window import CONTEXT, Onset, Window
from switchtower.models import Surface

GUARDRAIL = Guardrail(RulePack.load())
RULES = GUARDRAIL.pack.on(Surface.OUTPUT)
ONSET = Onset(rule.spelled for rule in RULES)
LABEL = Onset([r"password is \S+"])
HOLD = 1024
PROSE = "A switch tower stood beside the line. From it, one person moved points and signals, and no train went twice. "


class Refused(Exception):
    """The judge's no."""


class Judge:
    """Refuses what a pattern finds, and counts what it reads."""

    def __init__(self, pattern: str = "") -> None:
        self._pattern = pattern
        self.read: list[str] = []

    def __call__(self, text: str) -> None:
        self.read.append(text)
        if self._pattern and re2.search(self._pattern, text):
            raise Refused


def judge(text: str) -> None:
    """The guardrail's own judgement of an answer."""
    if not GUARDRAIL.judge(text, Surface.OUTPUT).passed:
        raise Refused


def out(text: str, window: Window, size: int = 1) -> tuple[str, bool]:
    """What got out of a text, and whether it all passed."""
    said = ""
    try:
        for start in range(0, len(text), size):
            said += window.feed(text[start : start + size])
        return said + window.close(), True
    except Refused:
        return said, False


def first_match(text: str) -> int | None:
    """Where the first match begins that the rules find in the text as it stands, white space aside."""
    found = [match for rule in RULES for match in re2.finditer(rule.spelled, text)]
    return min((match.end() - len(match.group().lstrip()) for match in found), default=None)


# -- the guarantee --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("before", ["", "Here it is:\n", f"{PROSE}\n"])
@pytest.mark.parametrize("size", [1, 5])
def test_no_character_of_what_a_rule_refuses_gets_out(rule, before, size):
    for example in rule.matches:
        text = f"{before}{example}\nAnd so on."
        begins = first_match(text)
        said, passed = out(text, Window(judge, ONSET, HOLD), size)
        assert not passed
        assert begins is None or len(said.rstrip()) <= begins


@given(
    st.lists(st.sampled_from(PROSE.split()), max_size=40),
    st.sampled_from([example for rule in RULES for example in rule.matches]),
    st.lists(st.sampled_from(PROSE.split()), max_size=10),
    st.integers(1, 12),
)
def test_nor_in_the_middle_of_other_words(before, example, after, size):
    text = "\n".join((" ".join(before), example, " ".join(after)))
    begins = first_match(text)
    said, passed = out(text, Window(judge, ONSET, HOLD), size)
    if begins is not None:
        assert not passed
        assert len(said.rstrip()) <= begins


@given(st.text(alphabet="ab -_=\n", max_size=60), st.integers(1, 7), st.integers(1, 30))
def test_a_match_that_is_no_longer_than_the_hold_never_leaks(text, size, hold):
    """Whatever the text, its cuts and the hold are."""
    pattern = r"a[ab -]{0,6}b=\s?a|-\b_+\n|\Bb{2,}-"
    found = [match for match in re2.finditer(pattern, text) if len(match.group()) <= hold]
    said, passed = out(text, Window(Judge(pattern), Onset([pattern]), hold), size)
    if found:
        assert not passed
        assert len(said.rstrip()) <= found[0].end() - len(found[0].group().lstrip())


def test_of_a_match_that_is_longer_than_the_hold_only_what_is_too_far_before_its_end_gets_out():
    pattern = "x[a-z ]{0,200}y"
    text = "x " + "and " * 20 + "y"
    said, passed = out(text, Window(Judge(pattern), Onset([pattern]), hold=30))
    assert not passed
    assert 0 < len(said) <= len(text) - 30


def test_where_beginnings_are_not_known_the_hold_waits_always():
    unknown = Onset([r"\Qsecret\E"])
    assert not unknown.known
    said = fed = ""
    window = Window(Judge(), unknown, hold=20)
    for word in PROSE.split(" "):
        said, fed = said + window.feed(word + " "), fed + word + " "
        assert len(said.rstrip()) <= max(0, len(fed) - 20)
    assert said + window.close() == fed


def test_an_unfinished_word_is_not_judged():
    """A rule that asks for the end of the text would refuse `/` in the middle of a path."""
    asked = Judge()
    window = Window(asked, LABEL, HOLD)
    assert window.feed("see /") == "see "
    assert window.feed("home/ada ") == "/home/ada "
    assert asked.read == ["see ", "see /home/ada "]


# -- what waits, and how long ---------------------------------------------------------------------


def test_plain_words_go_out_when_they_are_finished():
    window = Window(Judge(), LABEL, HOLD)
    pieces = ("A ", "switch", " tower", " stood", ".", "\n")
    assert [window.feed(piece) for piece in pieces] == ["A ", "", "switch ", "tower ", "", "stood.\n"]


def test_a_script_without_spaces_does_not_wait():
    window = Window(Judge(), LABEL, HOLD)
    assert [window.feed(letter) for letter in "信号塔。"] == list("信号塔。")


def test_what_looks_like_a_label_waits_until_it_is_none():
    window = Window(Judge(), LABEL, HOLD)
    assert window.feed("Your password is ") == "Your "
    assert window.feed("\n") == "password is \n"


def test_prose_waits_two_words_at_most():
    said = ""
    window = Window(judge, ONSET, HOLD)
    for place, word in enumerate(PROSE.split(" ")):
        said += window.feed(word + " ")
        assert len(said.split()) >= place - 1


def test_a_word_without_an_end_waits_for_the_hold_and_no_longer():
    window = Window(Judge(), ONSET, hold=50)
    said = "".join(window.feed("abcde") for _ in range(40))
    assert len(said) == 200 - 50
    assert len(said + window.close()) == 200


def test_all_of_a_text_comes_out_in_the_end():
    text = PROSE * 100
    for size in (1, 7, 5000):
        assert out(text, Window(judge, ONSET, HOLD), size) == (text, True)


def test_close_judges_what_was_not_judged():
    asked = Judge("tower")
    window = Window(asked, LABEL, HOLD)
    assert window.feed("switch tower") == "switch "
    with pytest.raises(Refused):
        window.close()


def test_close_judges_nothing_twice():
    asked = Judge()
    window = Window(asked, LABEL, HOLD)
    assert window.feed("password is ") == ""
    assert window.close() == "password is "
    assert asked.read == ["password is "]


# -- what it costs --------------------------------------------------------------------------------


def test_what_is_judged_is_linear_in_the_text():
    """The context, what waits, and what is new: so much per finished word, however long the answer is."""
    asked = Judge()
    text = PROSE * 400
    out(text, Window(asked, ONSET, HOLD), 5)
    assert max(map(len, asked.read)) <= CONTEXT + HOLD + 5
    assert len(asked.read) <= text.count(" ") + 1


def test_the_window_reaches_back_over_what_is_out_already():
    """A pattern may be longer than what waits: it is refused in the end, though its beginning is out."""
    pattern = "(?s)begin.{1000}.{500}end"
    text = "begin" + "x y " * 375 + "end "
    _, passed = out(text, Window(Judge(pattern), Onset(["never"]), HOLD), 4)
    assert not passed
