"""Closed labels, with the real tokenizer and the real base model: all at once is the same as one by one."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from tests.support.engines import load_base
from workers.engine.chat import asked, prompt_ids
from workers.engine.labels import PROMPT, LabelTree, fit_temperature, probabilities

LABELS = (
    "bug",
    "bug report",
    "bug report form",
    "wish",
    "question",
    "Quatsch",
    "two words",
    "2024-11-05",
    "größer",
    "👍",
)
QUESTION = asked("Sort what the user says.", "The export crashes when I press the button.")


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return load_base()


@pytest.fixture(scope="module")
def prompt(base):
    return prompt_ids(base.tokenizer, QUESTION)


@pytest.fixture(scope="module")
def tree(base):
    return LabelTree.build(base.tokenizer, LABELS)


@pytest.fixture(scope="module")
def at_once(base, prompt, tree):
    """The logits after the prompt and after each token of the tree, from one pass behind the prompt."""
    with torch.inference_mode():
        first = base.model(torch.tensor([prompt]), use_cache=True)
        sees = torch.cat([torch.ones(len(tree.ids), len(prompt), dtype=torch.bool), tree.mask], 1)
        after = base.model(
            torch.tensor([tree.ids]),
            past_key_values=first.past_key_values,
            position_ids=torch.tensor([[len(prompt) - 1 + depth for depth in tree.depth]]),
            attention_mask=torch.zeros(sees.shape).masked_fill(~sees, -torch.inf)[None, None],
        )
        return first.logits[0, -1], after.logits[0]


def one_by_one(base, prompt, label) -> float:
    """The log-probability of a label and the end after it, by itself."""
    answer = [*base.tokenizer(label, add_special_tokens=False)["input_ids"], base.tokenizer.eos_token_id]
    with torch.inference_mode():
        said = base.model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(said.gather(1, torch.tensor(answer)[:, None]).sum())


def test_all_labels_at_once_are_scored_as_each_by_itself(base, prompt, tree, at_once):
    found = tree.logprobs(*at_once)
    assert found == pytest.approx({label: one_by_one(base, prompt, label) for label in LABELS}, abs=1e-3)


def test_the_scores_are_probabilities_in_the_order_of_the_labels(tree, at_once):
    scores = tree.scores(*at_once)
    assert tuple(scores) == LABELS
    assert sum(scores.values()) == pytest.approx(1)
    assert all(0 <= score <= 1 for score in scores.values())


def test_16_bit_logits_give_nearly_the_same(tree, at_once):
    last, nodes = at_once
    assert tree.scores(last.bfloat16(), nodes.bfloat16()) == pytest.approx(tree.scores(last, nodes), abs=0.1)


# -- the tree -------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_a_label_has_the_tokens_that_it_has_right_after_the_prompt(base, prompt, label):
    text = base.tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    whole = base.tokenizer(text + label, add_special_tokens=False)["input_ids"]
    assert whole == prompt + base.tokenizer(label, add_special_tokens=False)["input_ids"]


def test_labels_that_begin_alike_share_their_beginning(base, tree):
    alone = sum(len(base.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in LABELS)
    shared = sum(len(base.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in ("bug", "bug report"))
    assert len(tree.ids) == alone - shared
    assert tree.leaves["bug"] == tree.parents[tree.leaves["bug report"]]


def test_a_token_sees_what_leads_to_it_and_itself(tree):
    for place, parent in enumerate(tree.parents):
        way = [place]
        while way[-1] != PROMPT:
            way.append(tree.parents[way[-1]])
        assert tree.mask[place].nonzero()[:, 0].tolist() == sorted(way[:-1])
        assert tree.depth[place] == len(way) - 1
        assert parent < place


def test_a_label_cannot_say_a_control_token(base):
    tree = LabelTree.build(base.tokenizer, ("yes", "<|im_end|>", "no<|im_start|>user"))
    special = {index for index, token in base.tokenizer.added_tokens_decoder.items() if token.special}
    assert not special & set(tree.ids)
    assert set(tree.leaves) == {"yes", "<|im_end|>", "no<|im_start|>user"}


# -- temperature ----------------------------------------------------------------------------------


def test_a_temperature_takes_certainty_away_and_keeps_the_order():
    sure = {"a": -1.0, "b": -4.0, "c": -900.0}
    plain, warm = probabilities(sure), probabilities(sure, 3.0)
    assert max(warm.values()) < max(plain.values())
    assert sorted(warm, key=warm.get) == sorted(plain, key=plain.get)
    assert math.isfinite(sum(probabilities(sure, 0.05).values()))


def test_the_temperature_of_an_overconfident_model_is_found():
    """Right nine times in ten, and surer than that: the fitted temperature makes it say nine in ten."""
    said = [{"a": 0.0, "b": -9.0}] * 10
    temperature = fit_temperature(said, ["a"] * 9 + ["b"])
    assert probabilities(said[0], temperature)["a"] == pytest.approx(0.9, abs=1e-4)


def test_the_temperature_stays_in_bounds_where_the_model_is_always_right():
    assert fit_temperature([{"a": -0.1, "b": -2.0}], ["a"]) == pytest.approx(0.05, rel=0.05)
    assert fit_temperature([{"a": -0.1, "b": -200.0}], ["b"]) == pytest.approx(20, rel=0.05)
