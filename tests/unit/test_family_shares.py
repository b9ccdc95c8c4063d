"""Versions of one family share its jobs, by a hash of the job's id."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import pytest

from router.pool import Candidate
from router.strategies import by_share, choose
from switchtower.models import Capability, ModelCard, Provider

JOBS = [str(UUID(int=number)) for number in range(4000)]


def version(number, share, *, live=True, family="sorter"):
    card = ModelCard(
        name=f"{family}-v{number}",
        provider=Provider.LOCAL,
        capabilities=frozenset({Capability.INTENT}),
        family=family,
        share=share,
    )
    return Candidate(card, live, 0)


def chosen(candidates, job):
    return choose("local_first", candidates, "why", job).card.name


def test_each_version_gets_about_its_share():
    both = [version(1, 0.9), version(2, 0.1)]
    counted = Counter(chosen(both, job) for job in JOBS)
    assert counted["sorter-v2"] / len(JOBS) == pytest.approx(0.1, abs=0.015)
    assert counted.total() == len(JOBS)


def test_a_job_meets_the_same_version_each_time_in_whatever_order_they_come():
    both = [version(1, 0.5), version(2, 0.5)]
    assert [chosen(both, job) for job in JOBS[:200]] == [chosen(both[::-1], job) for job in JOBS[:200]]


def test_a_larger_share_takes_no_job_away_from_the_version_on_trial():
    few, more = [version(1, 0.9), version(2, 0.1)], [version(1, 0.7), version(2, 0.3)]
    tried = {job for job in JOBS if chosen(few, job) == "sorter-v2"}
    assert tried < {job for job in JOBS if chosen(more, job) == "sorter-v2"}


def test_families_are_split_independently():
    one = [version(1, 0.5), version(2, 0.5)]
    other = [version(1, 0.5, family="filer"), version(2, 0.5, family="filer")]
    agree = sum(chosen(one, job)[-1] == chosen(other, job)[-1] for job in JOBS)
    assert agree / len(JOBS) == pytest.approx(0.5, abs=0.05)


def test_what_no_worker_serves_gets_no_job_beside_what_one_serves():
    both = [version(1, 0.1), version(2, 0.9, live=False)]
    assert {chosen(both, job) for job in JOBS[:100]} == {"sorter-v1"}


def test_other_families_and_models_without_one_are_left_alone():
    plain = Candidate(ModelCard(name="base", provider=Provider.LOCAL, capabilities=frozenset()), True, 0)
    assert by_share([plain, version(1, 0.5), version(2, 0.5)], plain, JOBS[0]) is plain
    assert by_share([plain, version(1, 1.0)], version(1, 1.0), JOBS[0]).card.name == "sorter-v1"
