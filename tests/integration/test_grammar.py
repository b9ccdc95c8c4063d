"""Answers under a schema, with the real tokenizer and the real base model."""

from __future__ import annotations

import json
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from switchtower.errors import FormatError
from tests.support.engines import load_base
from workers.engine.chat import asked, prompt_ids
from workers.engine.grammar import Grammars, RowGrammar, mask_rows

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
WALKS = 8
STEPS = 80


class Ticket(BaseModel):
    title: Annotated[str, Field(min_length=1, max_length=24)]
    kind: Literal["bug", "wish"]
    votes: Annotated[int, Field(ge=0, lt=100)]


class Node(BaseModel):
    value: float
    next: Node | None = None


SHAPES = [
    Ticket,
    Node,
    str,
    bool,
    int | None,
    Annotated[str, Field(min_length=3, max_length=9)],
    Annotated[int, Field(ge=-17, le=1234)],
    Annotated[float, Field(gt=-0.5, lt=12.25)],
    Literal["a", 1, 'quo"te\n'] | None,
    list[Annotated[str, Field(max_length=4)]],
    Annotated[list[bool], Field(min_length=2, max_length=3)],
    tuple[int, bool],
    dict[str, int],
    uuid.UUID,
    Ticket | list[Ticket],
]


@pytest.fixture(scope="module")
def base():
    torch.set_num_threads(1)
    return load_base()


@pytest.fixture(scope="module")
def vocabulary(base) -> int:
    return base.model.config.vocab_size


@pytest.fixture(scope="module")
def grammars(base, vocabulary):
    return Grammars(base.tokenizer, vocabulary)


def grammar_of(grammars, shape) -> RowGrammar:
    return RowGrammar(grammars.compile(json.dumps(TypeAdapter(shape).json_schema())))


def allowed(grammar, vocabulary) -> list[int]:
    logits = torch.zeros(vocabulary)
    grammar.mask(logits)
    return logits.isfinite().nonzero()[:, 0].tolist()


def tokens(base, text) -> list[int]:
    return base.tokenizer(text, add_special_tokens=False)["input_ids"]


def write(base, grammar, question, limit):
    """A greedy answer and why it ended, as an engine would write it."""
    ids, cache, written = prompt_ids(base.tokenizer, asked("", question)), None, []
    with torch.inference_mode():
        while len(written) < limit:
            out = base.model(torch.tensor([ids]), past_key_values=cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[0, -1:]
            grammar.mask(logits)
            token = int(logits.argmax())
            grammar.accept(token)
            if token == base.tokenizer.eos_token_id:
                return base.tokenizer.decode(written), "stop"
            written.append(token)
            ids = [token]
    return base.tokenizer.decode(written), "length"


# -- the model ------------------------------------------------------------------------------------


def test_an_answer_that_stopped_is_valid(base, grammars):
    text, reason = write(
        base, grammar_of(grammars, Ticket), "Turn this into a ticket: the export crashes. 3 votes.", 60
    )
    assert reason == "stop"
    assert Ticket.model_validate_json(text, strict=True).title


def test_an_answer_that_was_cut_is_the_beginning_of_a_valid_one(base, grammars):
    text, reason = write(base, grammar_of(grammars, Ticket), "Turn this into a ticket: the export crashes.", 12)
    assert reason == "length"
    assert text.startswith('{"title": ')
    with pytest.raises(ValueError, match="EOF"):
        Ticket.model_validate_json(text)


# -- whatever a model would like to say -----------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_way_through_a_grammar_ends_in_a_valid_answer(base, grammars, vocabulary, closing, shape):
    ended, chance = 0, random.Random(7)  # noqa: S311 - the same walks each time
    for _ in range(WALKS):
        text = walk(base, grammar_of(grammars, shape), vocabulary, closing, chance)
        if text is not None:
            TypeAdapter(shape).validate_json(text, strict=True)
            ended += 1
    assert ended


@pytest.fixture(scope="module")
def closing(base):
    """The tokens that may close something."""
    return {index for token, index in base.tokenizer.get_vocab().items() if set(token) & set('"}]')}


def walk(base, grammar, vocabulary, closing, chance):
    """Any tokens that are allowed, the end gladly; None where they lead too far."""
    written = []
    for _ in range(STEPS):
        may = allowed(grammar, vocabulary)
        close = [token for token in may if token in closing]
        token = chance.choice(close if close and chance.random() < 0.4 else may)
        if base.tokenizer.eos_token_id in may and chance.random() < 0.5:
            token = base.tokenizer.eos_token_id
        grammar.accept(token)
        if token == base.tokenizer.eos_token_id:
            return base.tokenizer.decode(written)
        written.append(token)
    return None


def test_no_control_token_and_no_control_character_can_be_said_inside_a_string(base, grammars, vocabulary):
    """The names of control tokens are text, and their tokens are not; a bounded string is no exception."""
    for shape in (str, Annotated[str, Field(max_length=40)]):
        grammar = grammar_of(grammars, shape)
        for token in tokens(base, '"a'):
            grammar.accept(token)
        may = allowed(grammar, vocabulary)
        assert len(may) > vocabulary / 2
        assert not set(may) & {index for index, token in base.tokenizer.added_tokens_decoder.items() if token.special}
        assert not [token for token in may if any(ord(letter) < 32 for letter in base.tokenizer.decode([token]))]


def test_the_end_is_known_before_it_is_written(base, grammars):
    grammar = grammar_of(grammars, Literal["ab", "abc"])
    for token in tokens(base, '"ab'):
        assert not grammar.ended
        grammar.accept(token)
    assert not grammar.ended
    grammar.accept(tokens(base, '"')[0])
    assert grammar.ended
    grammar.accept(base.tokenizer.eos_token_id)
    assert grammar.ended


def test_a_number_that_could_go_on_has_not_ended(base, grammars, vocabulary):
    grammar = grammar_of(grammars, int)
    grammar.accept(tokens(base, "1")[0])
    assert not grammar.ended
    assert base.tokenizer.eos_token_id in allowed(grammar, vocabulary)


def test_a_token_that_may_not_come_is_an_error(base, grammars):
    with pytest.raises(FormatError, match="left its schema"):
        grammar_of(grammars, int).accept(tokens(base, "a")[0])


# -- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_some_rows_of_a_batch_are_masked_and_the_others_stay(base, grammars, vocabulary, device, dtype):
    logits = torch.randn(4, vocabulary, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    before, rows = logits.clone(), {1: grammar_of(grammars, bool), 3: grammar_of(grammars, int)}
    mask_rows(logits, rows)
    assert logits[[0, 2]].equal(before[[0, 2]])
    for place, grammar in rows.items():
        kept = logits[place].isfinite()
        assert kept.nonzero()[:, 0].tolist() == allowed(grammar, vocabulary)
        assert logits[place][kept].equal(before[place][kept])


# -- compiling ------------------------------------------------------------------------------------


def test_a_schema_that_contradicts_itself_is_refused_with_the_compilers_reason(grammars):
    with pytest.raises(FormatError, match=r"^the schema cannot be compiled: minItems is greater"):
        grammars.compile('{"type": "array", "minItems": 3, "maxItems": 2}')


def test_a_schema_that_could_not_be_kept_is_refused(grammars):
    with pytest.raises(FormatError, match="says pattern"):
        grammars.compile('{"type": "string", "pattern": "^a$"}')


def test_schemas_are_compiled_by_many_threads_at_once(grammars, vocabulary):
    schemas = [json.dumps({"enum": [number, number + 1]}) for number in range(4)] * 4
    with ThreadPoolExecutor(8) as pool:
        compiled = list(pool.map(grammars.compile, schemas))
    firsts = [allowed(RowGrammar(one), vocabulary) for one in compiled]
    assert firsts == firsts[:4] * 4
