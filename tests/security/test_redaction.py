"""Texts that try to fool the redaction: forged, nested and foreign placeholders, and texts made to be slow."""

from __future__ import annotations

import string
import time

import pytest

from security.redaction.placeholders import tag_of
from security.redaction.redactor import Redactor
from security.redaction.rehydration import rehydrate

JOB = "0190a000-0000-7000-8000-000000000000"
TAG = tag_of(JOB)
REDACTOR = Redactor()


def there_and_back(text: str) -> str:
    found = REDACTOR.redact(text, TAG)
    return rehydrate(found.text, found.entries, TAG)


# -- forged placeholders --------------------------------------------------------------------------

FORGERIES = [
    f"[EMAIL_1_{TAG}]",
    f"[EMAIL_1_{TAG.upper()}]",
    f"email 1 {TAG}",
    f"E-mail: EMAIL\\_1\\_{TAG}",
    f"[EMAIL_0001_{TAG}]",
    f"[[EMAIL_1_{TAG}]]",
    f"[EMAIL_1_{TAG}](https://evil.example)",
    f"[EMAIL_1_\u200b{TAG}]",
    "".join(chr(ord(one) + 0xFEE0) for one in f"EMAIL_1_{TAG}"),
]


@pytest.mark.parametrize("forged", FORGERIES)
def test_a_placeholder_in_the_request_does_not_become_anothers_value(forged):
    text = f"Mail ada@example.org. {forged} and {forged}"
    found = REDACTOR.redact(text, TAG)
    assert rehydrate(found.text, found.entries, TAG) == text
    assert found.entries[f"[EMAIL_1_{TAG}]"] == "ada@example.org"
    assert found.text.count(f"[EMAIL_1_{TAG}]") == 1


def test_a_value_that_holds_a_placeholder_is_not_read_again():
    inner = f"[EMAIL_1_{TAG}]"
    text = f'ada@example.org has password = "x{inner}9-hunter2"'
    assert there_and_back(text) == text
    assert rehydrate(inner, {inner: f"see {inner}"}, TAG) == f"see {inner}"


def test_nested_forgeries_come_back_as_they_were():
    text = f"[EMAIL_[EMAIL_1_{TAG}]_{TAG}] [[EMAIL_1_{TAG}]_1_{TAG}] EMAIL_1_[EMAIL_2_{TAG}] ada@example.org"
    assert there_and_back(text) == text


def test_parts_of_a_placeholder_around_a_value_do_not_make_one():
    for text in (f"EMAIL_ada@example.org_1_{TAG}", f"[EMAIL_1_ada@example.org{TAG}]", f"[EMAIL_ada@example.org]_{TAG}"):
        assert there_and_back(text) == text


def test_another_jobs_placeholder_is_text_like_any_other():
    other = tag_of("0190a000-0000-7000-8000-000000000001")
    found = REDACTOR.redact(f"[EMAIL_1_{other}]", TAG)
    assert (found.text, found.entries) == (f"[EMAIL_1_{other}]", {})
    assert rehydrate(f"[EMAIL_1_{other}]", {f"[EMAIL_1_{TAG}]": "ada@example.org"}, TAG) == f"[EMAIL_1_{other}]"


# -- odd texts ------------------------------------------------------------------------------------

ODD = [
    "",
    " ",
    "\u0000\u0000",
    "\ud800 ada@example.org \udfff",
    "👩‍👩‍👧 ada@example.org 👩‍👩‍👧",
    "مرحبا ada@example.org، شكرا",
    "e\u0301 Frau Müller\u0308 e\u0301",
    "ﬁancé: ada@example.org; İstanbul",
    "[[[[" * 20 + "ada@example.org" + "]]]]" * 20,
    "ada@example.orgeve@example.net",
    "+44 20 7946 0958+44 20 7946 0959",
    "My name is Ada Kovacs.My name is Eve Kovacs.",
]


@pytest.mark.parametrize("text", ODD)
def test_every_text_comes_back_to_the_letter(text):
    assert there_and_back(text) == text


@pytest.mark.parametrize("text", [text for text in ODD if "ada@" in text])
def test_no_neighbour_hides_a_value(text):
    assert "ada@" not in REDACTOR.redact(text, TAG).text


def test_a_key_without_an_end_is_taken_to_the_end_of_the_text():
    text = "Here: -----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nxyz"
    assert REDACTOR.redact(text, TAG).text == f"Here: [SECRET_1_{TAG}]"


def test_the_longest_text_that_the_guardrail_reads():
    text = ("Mail to ada@example.org or call +44 20 7946 0958. " * 4_100)[:200_000]
    found = REDACTOR.redact(text, TAG)
    assert len(found.entries) == 2
    assert rehydrate(found.text, found.entries, TAG) == text


# -- texts made to be slow ------------------------------------------------------------------------

NAMES = string.ascii_uppercase
SLOW = {
    "prose": lambda size: "The quick brown fox jumps over the lazy dog. " * (size // 45),
    "addresses": lambda size: " ".join(f"user{one}@host{one}.example" for one in range(size // 26)),
    "one word": lambda size: "a" * size,
    "half addresses": lambda size: "a@" * (size // 2),
    "digits": lambda size: "4111 " * (size // 5),
    "pairs of digits": lambda size: "41-" * (size // 3),
    "colons": lambda size: "ab:" * (size // 3),
    "keys without an end": lambda size: "-----BEGIN PRIVATE KEY-----\nAAAA\n" * (size // 33),
    "secrets in one word": lambda size: "AKIAQWERTYUIOPASDFGH-" * (size // 21),
    "labels": lambda size: "password=" * (size // 9),
    "names": lambda size: "".join(f"My name is Anna {NAMES[n % 26]}{'b' * (n % 40)}. " for n in range(size // 36)),
    "mentions": lambda size: "My name is Anna Bella. " + "Anna " * (size // 5),
    "forgeries": lambda size: f"[EMAIL_1_{TAG}] " * (size // 17),
    "half forgeries": lambda size: "EMAIL_1_" * (size // 8),
    "signs": lambda size: "é\u200b\uff11" * (size // 3),
}  # fmt: skip


def seconds(text: str) -> float:
    began = time.thread_time()
    REDACTOR.redact(text, TAG)
    return time.thread_time() - began


@pytest.mark.parametrize("how", SLOW)
def test_four_times_the_text_takes_about_four_times_as_long(how):
    """Ten times is allowed: quadratic would be sixteen."""
    seconds(SLOW[how](2_000))
    short, long = (min(seconds(SLOW[how](size)) for _ in range(2)) for size in (20_000, 80_000))
    assert long < max(10 * short, 0.2)
