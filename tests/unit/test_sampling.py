"""Tokens from logits: greedy, drawn, cut to the nucleus, and never from numbers that are none."""

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch
from hypothesis import given
from hypothesis import strategies as st

from switchtower.models import Sampling
from workers.engine.request import Request
from workers.engine.sampling import choose


def request(**sampling):
    return Request([1], Sampling(**sampling), 1, lambda: None)


def test_without_a_temperature_the_likeliest_token_is_taken():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert choose(logits, [request(), request()]) == [1, 0]


def test_a_row_of_no_numbers_gives_no_token_and_leaves_the_others_alone():
    logits = torch.tensor([[0.0, float("nan"), 1.0], [0.0, float("inf"), 1.0], [0.0, 1.0, 2.0]])
    assert choose(logits, [request(), request(temperature=1.0, seed=1), request()]) == [None, None, 2]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    chances = torch.tensor([0.1, 0.6, 0.3])
    rows = 4000
    logits = (chances.log() + 7).expand(rows, 3)
    drawn = choose(logits, [request(temperature=1.0, seed=seed) for seed in range(rows)])
    found = torch.bincount(torch.tensor(drawn), minlength=3) / rows
    assert (found - chances).abs().max() < 0.03


def test_a_low_temperature_sharpens():
    logits = torch.tensor([[1.0, 2.0]]).expand(500, 2)
    drawn = choose(logits, [request(temperature=0.05, seed=seed) for seed in range(500)])
    assert set(drawn) == {1}


@given(st.integers(2, 3000), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_the_nucleus_is_the_smallest_set_with_so_much_probability(size, top_p, seed):
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(seed)) * 3
    chances = logits[0].softmax(-1)
    order = chances.argsort(descending=True)
    smallest = int((chances[order].cumsum(-1) < top_p - 1e-6).sum()) + 1
    (token,) = choose(logits, [request(temperature=1.0, top_p=top_p, seed=seed)])
    assert token in order[: smallest + 1].tolist()


def test_a_flat_distribution_needs_more_than_the_first_look():
    drawn = choose(torch.zeros(300, 5000), [request(temperature=1.0, top_p=0.9, seed=seed) for seed in range(300)])
    assert len(set(drawn)) > 200


def test_what_a_seed_draws_does_not_depend_on_the_neighbours():
    logits = torch.randn(3, 50)
    alone = choose(logits[1:2], [request(temperature=1.0, seed=7)])
    assert choose(logits, [request(temperature=1.0, seed=seed) for seed in (5, 7, 9)])[1] == alone[0]
