"""Choosing: who may see the text comes before who can do it, and both before any score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.pool import Candidate
from router.strategies import STRATEGIES, allowed, choose
from switchtower.models import Capability, ModelCard, Privacy, Provider

LOCAL, CLOUD = Provider.LOCAL, Provider.OPENAI


def candidate(
    name, provider=LOCAL, *, able=(Capability.GENERAL,), live=True, busy=0, cost=0.0, privacy=Privacy.MAXIMUM
):
    card = ModelCard(
        name=name,
        provider=provider,
        capabilities=frozenset(able),
        adapter=f"{name}-adapter",
        cost_per_token=cost,
        privacy=privacy,
    )
    return Candidate(card, live, busy)


candidates = st.lists(
    st.builds(
        lambda name, provider, able, live, busy, cost, privacy: candidate(
            name, provider, able=able, live=live, busy=busy, cost=cost, privacy=privacy
        ),
        st.sampled_from("abcdefgh"),
        st.sampled_from(Provider),
        st.frozensets(st.sampled_from(Capability)),
        st.booleans(),
        st.integers(0, 9),
        st.floats(0, 1),
        st.sampled_from(Privacy),
    ),
    max_size=8,
)
models = st.none() | st.sampled_from(["a", "b-adapter", "unknown"])


@given(candidates, st.sampled_from(Privacy), models, st.sampled_from(Capability))
def test_privacy_is_a_filter_that_nothing_overrides(known, privacy, model, wanted):
    for one in allowed(known, privacy, model, wanted):
        assert one.card.privacy.at_least(privacy)
        if privacy in (Privacy.HIGH, Privacy.MAXIMUM):
            assert one.card.provider is LOCAL


@given(candidates, st.sampled_from(Privacy), st.sampled_from(Capability))
def test_whoever_is_allowed_is_able(known, privacy, wanted):
    able = allowed(known, privacy, None, wanted)
    assert all({wanted, Capability.GENERAL} & one.card.capabilities for one in able)


@given(candidates.filter(bool), st.sampled_from(sorted(STRATEGIES)))
def test_a_choice_is_one_of_the_candidates_and_always_the_same(known, strategy):
    first = choose(strategy, known, "why", "a job")
    again = choose(strategy, known[::-1], "why", "a job")
    assert first.card in [one.card for one in known]
    assert first.card.name == again.card.name
    assert first.candidates == tuple(sorted(one.card.name for one in known))


@pytest.mark.parametrize("privacy", [Privacy.HIGH, Privacy.MAXIMUM])
def test_a_private_text_waits_for_the_house_rather_than_leave_it(privacy):
    known = [candidate("dead", live=False), candidate("cloud", CLOUD)]
    able = allowed(known, privacy, None, Capability.GENERAL)
    assert choose("local_first", able, "why", "a job").card.name == "dead"


def test_a_model_asked_for_by_name_passes_the_privacy_filter_too():
    known = [candidate("cloud", CLOUD), candidate("local")]
    assert allowed(known, Privacy.HIGH, "cloud", Capability.GENERAL) == []
    assert allowed(known, Privacy.STANDARD, "cloud", Capability.GENERAL) == known[:1]


def test_an_unknown_model_is_nobody():
    assert allowed([candidate("a")], Privacy.PUBLIC, "b", Capability.GENERAL) == []


def test_a_model_is_known_by_its_adapter_too():
    known = [candidate("a"), candidate("b")]
    assert allowed(known, Privacy.PUBLIC, "b-adapter", Capability.GENERAL) == known[1:]


def test_a_generalist_stands_in_for_a_missing_specialist():
    general, coder = candidate("general"), candidate("coder", able=[Capability.CODE])
    assert allowed([general, coder], Privacy.PUBLIC, None, Capability.CODE) == [coder]
    assert allowed([general, coder], Privacy.PUBLIC, None, Capability.WORKFLOW) == [general]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (candidate("z"), candidate("a", live=False)),
        (candidate("z", cost=1.0), candidate("a", CLOUD)),
        (candidate("z", busy=9), candidate("a", cost=0.1)),
        (candidate("z", busy=1), candidate("a", busy=2)),
        (candidate("a"), candidate("z")),
    ],
    ids=["live before dead", "local before cloud", "cheap before dear", "idle before busy", "by name"],
)
def test_local_first(better, worse):
    assert choose("local_first", [worse, better], "why", "a job").card == better.card


def test_the_reason_says_whether_the_job_must_wait():
    assert "a is live" in choose("local_first", [candidate("a")], "asked for", "a job").reason
    assert "waits in its queue" in choose("local_first", [candidate("a", live=False)], "asked for", "a job").reason
