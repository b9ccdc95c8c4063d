"""What an answer must look like: what may be asked for, and what the messages of the line carry of it."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ValidationError

from switchtower import JsonSchema, Labels, Sampling, UserRequest
from switchtower.messages import Completion

INTEGER = {"type": "integer"}


class Ticket(BaseModel):
    title: str
    votes: int = 0


def completion(**said):
    return Completion.model_validate(
        {"job": UserRequest(prompt="?").job, "model": "m", "finish_reason": "stop", **said}
    )


# -- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [("bug", "wish"), ("bug", "bug report"), ("ja", "nein", "weiß nicht"), ("ナ", "👍")])
def test_labels_may_begin_alike_and_be_of_any_language(labels):
    assert UserRequest(prompt="?", format=Labels(labels=labels)).format.labels == labels


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ((), "at least 2"),
        (("bug",), "at least 2"),
        (("bug", ""), "at least 1 character"),
        (("bug", " "), "' ' is blank"),
        (("bug", "wish "), "'wish ' is blank, or spelled with stray white space"),
        (("bug", "a\nwish"), "stray white space"),
        (("bug", "wi\u200bsh"), "control characters"),
        (("bug", "wish", "bug"), "twice: 'bug'"),
        (("bug", "w" * 201), "at most 200"),
        (tuple(map(str, range(257))), "at most 256"),
        (tuple(str(number) * 30 for number in range(100, 200)), "the limit is 4096"),
        (("bug", "\ud800"), "unicode"),
    ],
)
def test_labels_that_cannot_be_told_apart_or_written_are_refused(labels, why):
    with pytest.raises(ValidationError, match=why):
        Labels(labels=labels)


# -- schemas --------------------------------------------------------------------------------------


def test_a_schema_may_be_an_object_its_text_or_a_model():
    text = json.dumps(INTEGER)
    said = [JsonSchema.model_validate({"json_schema": form}) for form in (INTEGER, text)]
    assert said == [JsonSchema.of(INTEGER)] * 2
    assert json.loads(JsonSchema.of(Ticket).json_schema) == Ticket.model_json_schema()


def test_the_order_of_properties_is_kept():
    schema = {"type": "object", "properties": {"b": INTEGER, "a": INTEGER}}
    assert list(json.loads(JsonSchema.of(schema).json_schema)["properties"]) == ["b", "a"]


def test_what_is_said_twice_or_escaped_has_one_spelling():
    """Else a guardrail could judge one text and the model be bound to another."""
    hidden = JsonSchema(json_schema='{"const": "fine", "\\u0063onst": "\\u0064anger"}')
    assert hidden.json_schema == '{"const":"danger"}'
    assert hidden.texts == ("const", "danger")


def test_every_text_of_a_schema_is_shown_as_it_is():
    schema = {"properties": {"one": {"enum": ['a\n"b"', 1, None]}}, "description": "two", "examples": [{"x": ["y"]}]}
    shown = JsonSchema.of(schema).texts
    assert {"one", 'a\n"b"', "two", "x", "y"} <= set(shown)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object"),
        ("true", "must be a JSON object"),
        (7, "valid string"),
        ('{"maximum": NaN}', "NaN is no number"),
        ('{"maximum": 1e999}', "not JSON compliant"),
        ('{"const": "\\ud800"}', "unicode"),
        ('{"items":' * 33 + "{}" + "}" * 33, "nested deeper than 32"),
        ('{"items":' * 200_000, "nested deeper than 32"),
        (json.dumps({"const": "x" * 16_384}), "at most 16384"),
    ],
)
def test_a_schema_that_is_no_sound_json_is_refused(schema, why):
    with pytest.raises(ValidationError, match=why):
        JsonSchema(json_schema=schema)


def test_a_model_with_values_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="not JSON"):
        JsonSchema.of({"const": object()})


def test_the_texts_can_be_put_into_other_words():
    schema = JsonSchema.of({"properties": {"ada": {"const": "ada"}}, "required": ["ada"]})
    assert json.loads(schema.reworded(lambda text: "x" if text == "ada" else text).json_schema) == {
        "properties": {"x": {"const": "x"}},
        "required": ["x"],
    }
    assert Labels(labels=("a", "b")).reworded(str.upper).labels == ("A", "B")


# -- in a message ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [Labels(labels=("bug", "wish")), JsonSchema.of(Ticket)])
def test_a_request_keeps_its_format_on_the_wire(form):
    request = UserRequest(prompt="?", format=form)
    assert UserRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize("form", [{}, {"kind": "xml"}, {"labels": ["a", "b"]}, {"kind": "labels", "json_schema": "{}"}])
def test_a_format_of_no_known_kind_is_refused(form):
    with pytest.raises(ValidationError):
        UserRequest.model_validate({"prompt": "?", "format": form})


def test_a_stop_string_may_not_cut_a_format():
    with pytest.raises(ValidationError, match="leave one of the two out"):
        UserRequest(prompt="?", format=Labels(labels=("a", "b")), sampling=Sampling(stop=("a",)))


def test_messages_from_before_formats_are_still_read():
    request = json.loads(UserRequest(prompt="?").model_dump_json())
    del request["format"]
    assert UserRequest.model_validate(request).format is None
    assert completion(text="?").scores is None


def test_an_answer_with_scores_is_one_of_its_labels():
    assert completion(text="bug", scores={"bug": 0.75, "wish": 0.25}).scores["bug"] == 0.75
    with pytest.raises(ValidationError, match="none of its labels"):
        completion(text="else", scores={"bug": 0.75, "wish": 0.25})


@pytest.mark.parametrize("scores", [{"bug": 1.1, "wish": 0}, {"bug": float("nan"), "wish": 0}, {"bug": 1.0}])
def test_scores_are_probabilities_of_several_labels(scores):
    with pytest.raises(ValidationError):
        completion(text="bug", scores=scores)
