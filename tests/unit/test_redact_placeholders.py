"""Placeholders: how they are written, how they may come back, and that nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.redaction.entities import Kind
from security.redaction.placeholders import LETTERS, TAG_LENGTH, read, tag_of, written
from security.redaction.redactor import Redactor
from security.redaction.rehydration import Rehydration, mentioned, rehydrate

TAG = tag_of("0190a000-0000-7000-8000-000000000000")
ENTRIES = {written("EMAIL", 1, TAG): "ada@example.org", written("EMAIL", 12, TAG): "eve@example.net"}
REDACTOR = Redactor()

BACK = {
    "as it was written": (f"Ask [EMAIL_1_{TAG}].", "Ask ada@example.org."),
    "in capitals": (f"Ask [EMAIL_1_{TAG.upper()}].", "Ask ada@example.org."),
    "in small letters": (f"ask [email_1_{TAG}]", "ask ada@example.org"),
    "without brackets": (f"Ask EMAIL_1_{TAG}!", "Ask ada@example.org!"),
    "with spaces": (f"Ask [EMAIL 1 {TAG}]", "Ask ada@example.org"),
    "with hyphens": (f"Ask EMAIL-1-{TAG}", "Ask ada@example.org"),
    "escaped for Markdown": (rf"Ask [EMAIL\_1\_{TAG}]", "Ask ada@example.org"),
    "bold": (f"Ask **[EMAIL_1_{TAG}]**", "Ask **ada@example.org**"),
    "in other brackets": (f"Ask <EMAIL_1_{TAG}>", "Ask <ada@example.org>"),
    "in quotes": (f'{{"to": "[EMAIL_1_{TAG}]"}}', '{"to": "ada@example.org"}'),
    "as a link": (f"[EMAIL_1_{TAG}](mailto:EMAIL_1_{TAG})", "[ada@example.org](mailto:ada@example.org)"),
    "with an ending": (f"EMAIL_1_{TAG}s", "ada@example.orgs"),
    "of two digits": (f"[EMAIL_12_{TAG}]", "eve@example.net"),
    "twice without a space": (f"[EMAIL_1_{TAG}][EMAIL_12_{TAG}]", "ada@example.orgeve@example.net"),
    "of a number that was never given": (f"[EMAIL_3_{TAG}]", f"[EMAIL_3_{TAG}]"),
    "of a kind that was never given": (f"[PHONE_1_{TAG}]", f"[PHONE_1_{TAG}]"),
    "with another tag": ("[EMAIL_1_aaaaa]", "[EMAIL_1_aaaaa]"),
    "without a tag": ("[EMAIL_1]", "[EMAIL_1]"),
    "with half a tag": (f"[EMAIL_1_{TAG[:3]}]", f"[EMAIL_1_{TAG[:3]}]"),
}


@pytest.mark.parametrize("how", BACK)
def test_a_placeholder_is_read_however_a_model_writes_it(how):
    given_back, wanted = BACK[how]
    assert rehydrate(given_back, ENTRIES, TAG) == wanted


def test_a_tag_is_short_plain_and_follows_from_the_job():
    tags = {tag_of(f"job {number}") for number in range(200)}
    assert len(tags) > 190
    assert all(len(tag) == TAG_LENGTH and set(tag) <= set(LETTERS) for tag in tags)
    assert tag_of("job 1") == tag_of("job 1")


def test_numbers_count_by_kind_and_the_same_value_has_one_placeholder():
    found = REDACTOR.redact_all(("ada@example.org, 4111111111111111", "eve@example.net, ada@example.org"), TAG)
    assert found.texts == (
        f"[EMAIL_1_{TAG}], [CARD_1_{TAG}]",
        f"[EMAIL_2_{TAG}], [EMAIL_1_{TAG}]",
    )
    assert found.text == found.texts[0]


def test_what_is_not_private_is_the_same_text_without_entries():
    found = REDACTOR.redact("Nothing to see.", TAG)
    assert (found.text, found.entries) == ("Nothing to see.", {})


def test_whether_a_text_mentions_a_placeholder():
    assert mentioned(f"so email 1 {TAG} it is", TAG)
    assert not mentioned("so [EMAIL_1_aaaaa] it is", TAG)


# -- properties -----------------------------------------------------------------------------------

values = st.sampled_from(
    ["ada@example.org", "+44 20 7946 0958", "4111 1111 1111 1111", "my name is Ada Kovacs", "password=hunter2hunter2"]
)
forgeries = st.builds("[{}_{}_{}]".format, st.sampled_from(Kind), st.integers(0, 20), st.just(TAG))
halves = st.sampled_from(["[", "]", "(", "_1_", TAG, f"EMAIL_1_{TAG[:4]}", "EMAIL", "[EMAIL_", f"_{TAG}]", "\\", " "])
texts = st.lists(st.one_of(values, forgeries, halves, st.text(max_size=8)), max_size=12).map(" ".join) | st.lists(
    st.one_of(forgeries, halves), max_size=12
).map("".join)


@given(texts)
def test_what_was_taken_out_comes_back_to_the_letter(text):
    found = REDACTOR.redact(text, TAG)
    assert rehydrate(found.text, found.entries, TAG) == text


@given(texts)
def test_after_redaction_nothing_reads_like_a_placeholder_but_those_that_were_put_in(text):
    found = REDACTOR.redact(text, TAG)
    assert all(one.written in found.entries for one in read(found.text, TAG))


@given(texts, st.data())
def test_a_stream_says_the_same_as_the_whole_text_however_it_is_cut(text, data):
    found = REDACTOR.redact(text, TAG)
    stream, said, place = Rehydration(found.entries, TAG), "", 0
    while place < len(found.text):
        size = data.draw(st.integers(1, 6))
        said += stream.feed(found.text[place : place + size])
        place += size
    assert said + stream.flush() == text


def test_a_stream_waits_for_a_placeholder_and_for_nothing_else():
    stream = Rehydration(ENTRIES, TAG)
    assert stream.feed("Ask ") == "Ask "
    assert stream.feed(f"[EMAIL_1_{TAG}") == ""
    assert stream.feed("]") == ""
    assert stream.feed(". Then") == "ada@example.org. Then"
    assert stream.flush() == ""
