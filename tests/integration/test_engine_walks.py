"""Random walks: whatever comes, goes, is cancelled, is scored or breaks, each answer is the one that it gets alone.

The base model is a few kilobytes of random numbers, so that hundreds of requests take seconds.
"""

import random

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

from switchtower.models import Labels, Sampling
from switchtower.settings import Local
from tests.support.engines import ask, ask_together, write_random
from tests.support.tiny import write_model
from workers.adapters.shelf import AdapterShelf
from workers.engine.engine import Engine
from workers.models import base as base_model

ADAPTERS = ("a-v1", "b-v1", "c-v1", "d-v1", None)
CRAMPED = Local(
    context_size=128, max_batch=5, prefill_chunk=8, max_concurrent_adapters=2, max_adapter_rank=4, kv_cache_mb=1,
    threads=1, adapter_age_s=0.05, adapter_residency_s=0.0,
)  # fmt: skip
BROKEN = "\x7f"


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = write_model(tmp_path_factory.mktemp("model") / "tiny")
    cache = tmp_path_factory.mktemp("cache")
    return lambda: base_model.load(cache, "cpu", source=str(folder), dtype="float32")


@pytest.fixture(scope="module")
def shelf(load, tmp_path_factory):
    base, directory = load(), tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(filter(None, ADAPTERS)):
        write_random(directory / name, base.linears(), seed, 1 + seed, ("q_proj", "down_proj"), 0.7, base.name)
    return AdapterShelf(directory, base.name)


@pytest.fixture(scope="module")
def alone(load, shelf):
    """Answers without company, each asked once."""
    engine, known = Engine(load(), shelf, CRAMPED), {}

    def answer(question):
        key = repr(sorted((name, value) for name, value in question.items() if name != "stop"))
        if key not in known:
            known[key] = ask(engine, **{name: value for name, value in question.items() if name != "stop"})
        return known[key]

    yield answer
    engine.close()


def question(draw):
    said = "".join(draw.choices("abcdefgh ", k=draw.randint(1, 40)))
    asked = {"adapter": draw.choice(ADAPTERS), "messages": [{"role": "user", "content": said}]}
    if draw.random() < 0.2:
        return asked | {"output": Labels(labels=("yes", "no", "not now"))}
    seed = draw.choice([None, draw.randint(0, 9)])
    how = {"temperature": 0.0} if seed is None else {"temperature": 1.0, "seed": seed}
    asked["sampling"] = Sampling(max_tokens=draw.randint(1, 20), **how)
    if draw.random() < 0.2:
        asked["stop"] = iter([None] * draw.randint(0, 8) + ["cancelled"] * 10_000).__next__
    return asked


@pytest.fixture
def engine(load, shelf, monkeypatch):
    made = Engine(load(), shelf, CRAMPED)
    whole = made._request

    def fragile(messages, *rest):
        request = whole(messages, *rest)
        if BROKEN in messages[0]["content"]:
            request.ids[-1] = 10**6
        return request

    monkeypatch.setattr(made, "_request", fragile)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(5))
def test_company_changes_no_answer(engine, alone, seed):
    draw = random.Random(seed)  # noqa: S311 - a walk, not a secret
    asked = [question(draw) for _ in range(60)]
    bad = {place: {"messages": [{"role": "user", "content": BROKEN}]} for place in draw.sample(range(60), 4)}
    answers = ask_together(engine, *({**one, **bad.get(place, {})} for place, one in enumerate(asked)))
    for place, (one, answer) in enumerate(zip(asked, answers, strict=True)):
        if place in bad:
            assert isinstance(answer, IndexError) or answer.finish_reason == "cancelled"
        elif answer.finish_reason == "cancelled":
            assert alone(one).text.startswith(answer.text)
        elif answer.scores:
            assert answer.scores == pytest.approx(alone(one).scores, abs=1e-4)
        else:
            assert answer == alone(one)
    assert (engine.loop.rows, engine.loop.waiting) == (0, 0)
    assert not any(fact.leases or fact.waiting for fact in engine.adapters.facts())
