"""Labels, schemas and plain questions side by side in one batch of the engine."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from switchtower.errors import FormatError
from switchtower.models import JsonSchema, Labels, Sampling
from tests.support.engines import QUESTION, SMALL, ask, ask_together, load_base, shelf_of
from workers.engine.chat import prompt_ids
from workers.engine.engine import Engine

LABELS = Labels(labels=("sea", "bug", "bug report"))
SHORT = Sampling(max_tokens=8)


class Summary(BaseModel):
    title: Annotated[str, Field(max_length=30)]
    sentences: Annotated[int, Field(ge=1, le=9)]


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return load_base()


@pytest.fixture(scope="module")
def expected(base) -> dict[str, float]:
    """The labels' probabilities, from one plain pass for each."""
    prompt, end, found = prompt_ids(base.tokenizer, QUESTION), base.tokenizer.eos_token_id, []
    for label in LABELS.labels:
        answer = [*base.tokenizer(label, add_special_tokens=False)["input_ids"], end]
        with torch.inference_mode():
            said = base.model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        found.append(said.gather(1, torch.tensor(answer)[:, None]).sum())
    return dict(zip(LABELS.labels, torch.stack(found).softmax(0).tolist(), strict=True))


@pytest.fixture(scope="module")
def engine(base, expected, tmp_path_factory):
    """After what is expected: from here on the model reads through the engine only."""
    made = Engine(base, shelf_of(tmp_path_factory.mktemp("shelf"), base.linears(), red={"rank": 4}), SMALL)
    yield made
    made.close()


def test_each_row_of_a_mixed_batch_keeps_its_own_format(engine, expected):
    alone = ask(engine, sampling=SHORT).text
    labels, summary, plain, other = ask_together(
        engine,
        {"output": LABELS},
        {"output": JsonSchema.of(Summary), "sampling": Sampling(max_tokens=60)},
        {"sampling": SHORT},
        {"output": LABELS, "adapter": "red-v1"},
    )
    assert (labels.text, labels.finish_reason) == (max(expected, key=expected.get), "stop")
    assert labels.scores == pytest.approx(expected, rel=1e-2)
    assert summary.finish_reason == "stop"
    assert Summary.model_validate_json(summary.text, strict=True)
    assert (plain.text, plain.scores) == (alone, None)
    assert other.scores["bug"] != pytest.approx(expected["bug"], rel=0.5)  # the adapter says otherwise


def test_an_answer_that_was_cut_says_so(engine):
    cut = ask(engine, output=JsonSchema.of(Summary), sampling=Sampling(max_tokens=3))
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)


def test_a_schema_that_cannot_be_kept_is_refused_before_the_engine_hears_of_it(engine):
    with pytest.raises(FormatError, match="says pattern"):
        ask(engine, output=JsonSchema.of({"type": "string", "pattern": "a"}))
    assert ask(engine, sampling=SHORT).finish_reason
