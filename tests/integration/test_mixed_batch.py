"""Isolation: what a row answers does not depend on who else is in the batch."""

import threading

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

from switchtower.errors import ModelOutOfMemory, NotANumber, WorkerStopping
from switchtower.models import Sampling
from tests.support.engines import QUESTION, SMALL, ask, ask_together, load_base, peft_answers, shelf_of, write_random
from workers.engine.engine import Engine

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NAMES = ("red-v1", "green-v1", "blue-v1", "grey-v1", None)
TOKENS = 8
SHORT = Sampling(max_tokens=TOKENS)


@pytest.fixture(scope="module")
def base():
    return load_base()


@pytest.fixture(scope="module")
def shelf(base, tmp_path_factory):
    shapes = {"red": (4, 0.12), "green": (8, 0.15), "blue": (16, 0.18)}
    whole = {name: {"rank": rank, "size": size, "targets": ALL} for name, (rank, size) in shapes.items()}
    return shelf_of(tmp_path_factory.mktemp("adapters"), base.linears(), **whole, grey={"rank": 3, "size": 0.25})


@pytest.fixture(scope="module")
def expected(base, shelf):
    """PEFT's answers, on a model that no engine has touched."""
    return peft_answers(load_base(), shelf, NAMES, QUESTION, TOKENS)


@pytest.fixture(scope="module")
def engine(base, shelf):
    made = Engine(base, shelf, SMALL)
    yield made
    made.close()


def questions(count=10, **how):
    return [{"adapter": NAMES[index % len(NAMES)], "sampling": SHORT, **how} for index in range(count)]


def rights(asked, answers, expected):
    return [answer.text == expected[question["adapter"]] for question, answer in zip(asked, answers, strict=True)]


def test_adapters_make_a_difference(expected):
    assert len(set(expected.values())) == len(NAMES)


def test_every_row_of_a_mixed_batch_answers_as_peft_does_with_its_adapter_alone(engine, expected):
    asked = questions()
    assert all(rights(asked, ask_together(engine, *asked), expected))


def test_rows_that_come_and_go_leave_the_others_as_they_are(engine, expected):
    asked = questions()
    for index, question in enumerate(asked):
        if index % 3 == 2:
            question["sampling"] = Sampling(max_tokens=1 + index % 4)
        if index % 5 == 3:
            question["stop"] = iter([None] * index + ["cancelled"] * 1000).__next__
    answers = ask_together(engine, *asked)
    for question, answer in zip(asked, answers, strict=True):
        assert expected[question["adapter"]].startswith(answer.text)
    whole = [answer.text == expected[question["adapter"]] for question, answer in zip(asked, answers, strict=True)]
    assert sum(whole) >= 4


def test_prompts_that_are_read_in_pieces_change_nobody(base, shelf, expected):
    """A step reads 16 prompt tokens; a long prompt is still being read while others write."""
    engine = Engine(base, shelf, SMALL.model_copy(update={"prefill_chunk": 16}))
    long = [{"role": "user", "content": "Count the waves. " * 20}]
    alone = ask(engine, "red-v1", SHORT, messages=long)
    asked = questions(5)
    answers = ask_together(engine, {"adapter": "red-v1", "sampling": SHORT, "messages": long}, *asked)
    engine.close()
    assert answers[0] == alone
    assert all(rights(asked, answers[1:], expected))


def test_a_caller_whose_stop_raises_ends_alone(engine, expected):
    def broken():
        raise ConnectionError("the broker is gone")

    asked = questions(4)
    answers = ask_together(engine, {"adapter": "red-v1", "stop": broken}, *asked)
    assert isinstance(answers[0], ConnectionError)
    assert all(rights(asked, answers[1:], expected))


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_row_that_breaks_the_step_ends_alone(engine, expected, monkeypatch, place):
    """A token that the vocabulary does not have makes the whole forward raise."""
    whole = engine._request

    def foreign(messages, *rest):
        request = whole(messages, *rest)
        if messages[0]["content"] == "break":
            request.ids[-1] = 10**6
        return request

    monkeypatch.setattr(engine, "_request", foreign)
    asked = questions(4)
    bad = {"adapter": "red-v1", "messages": [{"role": "user", "content": "break"}]}
    answers = ask_together(engine, *asked[:place], bad, *asked[place:])
    assert isinstance(answers.pop(place), IndexError)
    assert all(rights(asked, answers, expected))
    assert ask(engine, "red-v1", SHORT).text == expected["red-v1"]


def test_an_adapter_whose_numbers_overflow_hurts_only_itself(base, shelf, engine, expected):
    write_random(shelf.directory / "huge-v1", base.linears(), seed=9, rank=4, size=3e37)
    asked = questions(5)
    answers = ask_together(engine, *asked, {"adapter": "huge-v1"})
    assert isinstance(answers[-1], NotANumber)
    assert all(rights(asked, answers[:-1], expected))
    assert ask(engine, "green-v1", SHORT).text == expected["green-v1"]


def test_too_little_memory_makes_the_batch_smaller_and_no_answer_different(base, shelf, expected, monkeypatch):
    import torch

    engine = Engine(base, shelf, SMALL)
    run, widest = engine.loop._runner.run, []

    def scarce(parts, writing):
        if len(parts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        widest.append(len(parts))
        return run(parts, writing)

    monkeypatch.setattr(engine.loop._runner, "run", scarce)
    asked = questions()
    answers = ask_together(engine, *asked)
    shrunk = engine.loop.meter.shrunk
    engine.close()
    assert all(rights(asked, answers, expected))
    assert max(widest) == 2
    assert shrunk


def test_a_newcomer_for_whom_there_is_no_memory_waits_for_those_who_have_theirs(base, shelf, expected, monkeypatch):
    engine = Engine(base, shelf, SMALL)
    batch = engine.loop._batch
    add = batch.add

    def scarce(request):
        if len(batch) >= 1:
            raise MemoryError
        add(request)

    monkeypatch.setattr(batch, "add", scarce)
    asked = questions(5)
    answers = ask_together(engine, *asked)
    shrunk = engine.loop.meter.shrunk
    engine.close()
    assert all(rights(asked, answers, expected))
    assert shrunk


def test_what_earlier_rows_have_left_is_given_up_for_a_newcomer(base, shelf, monkeypatch):
    engine = Engine(base, shelf, SMALL)
    ask(engine)
    grow, tries = engine.cache.grow, []

    def scarce(rows, tokens):
        tries.append(engine.cache.rows)
        if engine.cache.rows:
            raise MemoryError
        grow(rows, tokens)

    monkeypatch.setattr(engine.cache, "grow", scarce)
    assert ask(engine, None, SHORT).completion_tokens == TOKENS
    engine.close()
    assert tries[-1] == 0


def test_a_request_that_is_too_large_even_alone_is_given_back(base, shelf, monkeypatch):
    engine = Engine(base, shelf, SMALL)

    def scarce(parts, writing):
        raise MemoryError

    monkeypatch.setattr(engine.loop._runner, "run", scarce)
    with pytest.raises(ModelOutOfMemory):
        ask(engine)
    monkeypatch.undo()
    assert ask(engine, None, SHORT).completion_tokens == TOKENS
    engine.close()


def test_more_than_the_cache_may_ever_hold_is_refused_at_once(base, shelf):
    engine = Engine(base, shelf, SMALL.model_copy(update={"kv_cache_mb": 1}))
    with pytest.raises(ModelOutOfMemory, match="kv_cache_mb"):
        ask(engine)
    engine.close()


def test_an_engine_that_closes_hands_every_request_back(base, shelf):
    engine, begun = Engine(base, shelf, SMALL), threading.Event()
    found = []
    asked = questions(5, on_token=lambda _: begun.set())
    for question in asked:
        question["sampling"] = Sampling(max_tokens=500)
    asking = threading.Thread(target=lambda: found.extend(ask_together(engine, *asked)))
    asking.start()
    assert begun.wait(60)
    engine.close()
    asking.join(60)
    assert [type(one) for one in found] == [WorkerStopping] * len(NAMES)
    with pytest.raises(WorkerStopping):
        ask(engine)


def test_a_thread_that_dies_leaves_nobody_waiting(base, shelf, monkeypatch):
    engine = Engine(base, shelf, SMALL)

    def broken():
        raise SystemError("a bug")

    monkeypatch.setattr(engine.loop, "_admit", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    found = ask_together(engine, {}, {})
    assert [type(one) for one in found] == [WorkerStopping] * 2
    assert not engine.loop.alive
    engine.close()


@pytest.mark.parametrize("dtype", ["bfloat16", "nf4"])
def test_in_low_precision_logits_agree_with_peft_as_far_as_rounding_lets_them(shelf, dtype):
    """Rounding differs with the batch, so tokens need not agree; the distance between logits does."""
    import torch

    from workers.adapters.weights import host_weights
    from workers.engine.bank import SlotBank
    from workers.engine.cache import RowCache, Shape
    from workers.engine.chat import prompt_ids
    from workers.engine.layout import Part
    from workers.engine.runner import Runner
    from workers.training.switch import put_on

    base = load_base(dtype)
    ids = prompt_ids(base.tokenizer, QUESTION)
    adapter = shelf.take("green-v1", base.linears())
    bank, cache = SlotBank(base.model, base.linears(), 2, 16), RowCache(Shape.of(base.model), 2**28)
    cache.grow(2, len(ids))
    bank.load(2, host_weights(adapter, base.linears()))
    ours = Runner(base, bank, cache).run([Part(0, 0, 0, ids), Part(1, 2, 0, ids)], 0)
    bank.detach()
    base.model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        plain = base.model(input_ids=torch.tensor([ids])).logits[0, -1:].float()
        dressed = put_on(base, None, adapter)(input_ids=torch.tensor([ids])).logits[0, -1:].float()
    apart = (dressed - plain).abs().mean()
    assert (ours[0].float() - plain).abs().mean() < 0.3 * apart
    assert (ours[1].float() - dressed).abs().mean() < 0.3 * apart
