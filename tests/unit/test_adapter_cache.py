"""Adapters in host memory: within the limit, the least recently used goes first, the needed ones stay."""

from __future__ import annotations

import pytest

from workers.adapters.cache import HostCache
from workers.adapters.weights import HostWeights


def weights(version, nbytes=10):
    return HostWeights(version, 2, 2.0, {}, nbytes)


@pytest.fixture
def cache():
    """Room for three, with two in it."""
    made = HostCache(30)
    made.put("a", weights("a-1"), ())
    made.put("b", weights("b-1"), ())
    return made


def kept(cache):
    return {version for version in ("a-1", "a-2", "b-1", "c-1", "d-1") if version in cache}


def test_the_least_recently_used_goes_first(cache):
    cache.put("c", weights("c-1"), ())
    assert cache.get("a-1").version == "a-1"
    cache.put("d", weights("d-1"), ())
    assert kept(cache) == {"a-1", "c-1", "d-1"}
    assert cache.nbytes == 30


def test_what_somebody_waits_for_stays(cache):
    cache.put("c", weights("c-1", 20), {"a-1"})
    assert kept(cache) == {"a-1", "c-1"}


def test_what_does_not_fit_beside_those_is_not_kept_and_drops_nobody(cache):
    cache.put("c", weights("c-1", 21), {"a-1", "c-1"})
    assert kept(cache) == {"a-1", "b-1"}
    assert cache.nbytes == 20


def test_what_is_larger_than_the_cache_is_not_kept(cache):
    cache.put("c", weights("c-1", 31), ())
    assert kept(cache) == {"a-1", "b-1"}


def test_the_same_version_is_counted_once(cache):
    cache.put("a", weights("a-1", 12), ())
    assert cache.nbytes == 22


def test_all_versions_of_an_adapter_are_forgotten(cache):
    cache.put("a", weights("a-2"), ())
    cache.forget("a")
    assert kept(cache) == {"b-1"}
    assert cache.nbytes == 10
    assert cache.get("a-1") is None
