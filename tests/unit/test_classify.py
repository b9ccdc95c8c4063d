"""What a request needs, read from what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.classify import capability
from switchtower import Capability, UserRequest


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("Classify this request: where is my parcel?", Capability.INTENT),
        ("Automate my invoices every time one arrives", Capability.WORKFLOW),
        ("Which folder does this note belong in?", Capability.KNOWLEDGE),
        ("Write a headline for our newsletter", Capability.CONTENT),
        ("Is anything missing from this order?", Capability.CLARIFICATION),
        ("Draw a threat model of the login", Capability.SECURITY),
        ("Refactor this PYTHON loop", Capability.CODE),
        ("What is the capital of France?", Capability.GENERAL),
    ],
)
def test_words_point_to_a_capability(prompt, wanted):
    assert capability(UserRequest(prompt=prompt))[0] is wanted


def test_the_reason_names_the_words():
    assert capability(UserRequest(prompt="A Unit Test, please")) == (Capability.CODE, "the words 'unit test'")
    assert capability(UserRequest(prompt="Hello"))[1] == "no special words"


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(Capability))
def test_what_is_asked_for_wins_over_words(prompt, wanted):
    assert capability(UserRequest(prompt=prompt, capability=wanted)) == (wanted, "asked for")


@given(st.text(min_size=1).filter(str.strip))
def test_every_request_needs_something(prompt):
    assert isinstance(capability(UserRequest(prompt=prompt))[0], Capability)
