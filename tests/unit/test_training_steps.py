"""What a training is made of, without a model: the order of its batches, its rate, what all prompts share."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.examples import Example, batches, shared_prefix
from workers.training.optimizer import rate
from workers.training.recipes import Recipe

sizes = st.integers(1, 70)


def examples(count):
    return [Example([number] * (number % 7 + 1), [number]) for number in range(count)]


@given(count=sizes, batch=st.integers(1, 9), epochs=st.integers(1, 3), seed=st.integers(0, 99))
def test_every_epoch_sees_every_record_once(count, batch, epochs, seed):
    recipe = Recipe(batch=batch, epochs=epochs, seed=seed)
    made = list(batches(examples(count), recipe))
    seen = Counter(one.answer[0] for each in made for one in each)
    assert len(made) == -(-count // batch) * epochs
    assert seen == dict.fromkeys(range(count), epochs)
    assert max(map(len, made)) <= batch


def test_the_seed_alone_decides_the_order():
    recipe = Recipe(batch=4)
    assert list(batches(examples(50), recipe)) == list(batches(examples(50), recipe))
    assert list(batches(examples(50), recipe)) != list(batches(examples(50), recipe.model_copy(update={"seed": 1})))


def test_a_batch_holds_records_of_like_length():
    recipe = Recipe(batch=4, epochs=1)
    spread = [max(map(len, one)) - min(map(len, one)) for one in batches(examples(64), recipe)]
    assert sum(spread) / len(spread) < 3


@pytest.mark.parametrize(
    ("prompts", "prefix"),
    [
        ([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3]], [1, 2]), ([[1, 2], [1, 2]], [1]), ([[7]], []), ([[1], [2]], []),
        ([[1, 2, 3], [1, 2]], [1]),
    ],
)  # fmt: skip
def test_the_shared_prefix_leaves_every_prompt_a_token_of_its_own(prompts, prefix):
    assert shared_prefix(prompts) == prefix


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 100, 1000])
def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing(steps):
    rates = [rate(step, steps, 2e-3) for step in range(steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(2e-3)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(0 < one <= 2e-3 for one in rates)
    if steps >= 100:
        assert rates[-1] < 2e-3 / 100
