"""Which JSON schemas are taken: all that pydantic makes of plain models, and nothing that would be kept by half."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from switchtower.errors import FormatError
from workers.engine.schema import MAX_PROPERTIES, check

INTEGER = {"type": "integer"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    article: Annotated[str, Field(min_length=1, max_length=20)]
    count: Annotated[int, Field(gt=0, le=100)] = 1
    price: Annotated[float, Field(ge=0)] | None = None


class Order(BaseModel):
    """Something of everything."""

    id: uuid.UUID
    made: dt.datetime
    paid: bool
    colour: Colour
    state: Literal["open", "closed"]
    kind: Literal["order"] = "order"
    lines: Annotated[list[Line], Field(min_length=1, max_length=3)]
    place: tuple[float, float]
    stock: dict[str, int]
    parent: Order | None = None


def test_what_pydantic_makes_of_a_model_is_taken():
    check(Order.model_json_schema())


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "title": "a", "description": "b", "default": "c", "examples": ["d"]},
        {"type": ["string", "null"], "maxLength": 3},
        {"enum": ["a", 1, None, {"x": [1]}]},
        {"type": "number", "enum": [1, 2.5]},
        {"type": "array", "prefixItems": [INTEGER], "items": False},
        {"type": "object", "additionalProperties": INTEGER},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
        {"$ref": "#/definitions/a", "definitions": {"a": {"anyOf": [INTEGER, {"$ref": "#/definitions/a"}]}}},
    ],
)
def test_what_is_kept_to_the_letter_is_taken(schema):
    check(schema)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string", "pattern": "^a$"}, "says pattern"),
        ({"oneOf": [INTEGER]}, "says oneOf"),
        ({"not": INTEGER}, "says not"),
        ({"type": "array", "uniqueItems": True}, "says uniqueItems, which cannot be kept beside type"),
        ({"type": "integer", "multipleOf": 7}, "says multipleOf"),
        ({"type": "string", "minimum": 1}, "says minimum"),
        ({"minimum": 1}, "says minimum, which cannot be kept by itself"),
        ({"enum": ["abc"], "maxLength": 2}, "says maxLength, which cannot be kept beside enum"),
        ({"$defs": {"a": INTEGER}, "$ref": "#/$defs/a", "minimum": 5}, "says minimum"),
        ({"type": "object", "properties": {"a": INTEGER}, "anyOf": [{}]}, "says properties, type"),
        ({"type": "array", "items": {"type": "array", "contains": {}}}, "the schema's items says contains"),
        ({"type": "text"}, "no known `type`"),
        ({"type": [INTEGER]}, "no known `type`"),
        ({"type": "string", "const": 1}, "values of its own `type`"),
        ({"type": "string", "format": "date", "maxLength": 3}, "a `format` and a length"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": 1}, "two lower bounds"),
        ({"type": "string", "minLength": "3"}, "no whole number"),
        ({"type": "array", "minItems": True}, "no whole number"),
        ({"type": "object", "properties": {"a": INTEGER}, "required": ["b"]}, "requires what is not"),
        ({"type": "object", "properties": {"a": INTEGER}, "required": "a"}, "requires what is not"),
        ({"type": "object", "properties": {"a": INTEGER}, "additionalProperties": True}, "list them all"),
        ({"type": "object", "properties": [INTEGER]}, "must be an object"),
        ({"type": "array", "items": 5}, "no schema that an answer could keep"),
        ({"type": "array", "prefixItems": INTEGER}, "must be a list"),
        ({"type": "object", "properties": {"a": False}}, "no schema that an answer could keep"),
        ({"$defs": []}, "must be an object"),
        ({"type": "array", "items": {"$defs": {}}}, r"says \$defs"),
    ],
)
def test_what_would_be_kept_by_half_is_refused_by_name(schema, why):
    with pytest.raises(FormatError, match=why):
        check(schema)


@pytest.mark.parametrize("reference", ["#/$defs/b", "#/properties/a", "https://example.org/x", "a", 5, "#/$defs/a/b"])
def test_a_reference_leads_to_a_definition_of_the_schema(reference):
    with pytest.raises(FormatError, match="refers to"):
        check({"$defs": {"a": INTEGER}, "type": "object", "properties": {"a": {"$ref": reference}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1},
        {"anyOf": [{"$ref": "#"}]},
        {"anyOf": []},
        {"type": "integer", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_under_which_no_answer_ends_is_refused(schema):
    with pytest.raises(FormatError, match="could ever end"):
        check(schema)


def test_what_would_take_minutes_to_compile_is_refused():
    many = {f"p{number}": INTEGER for number in range(MAX_PROPERTIES + 1)}
    with pytest.raises(FormatError, match=f"more than {MAX_PROPERTIES}"):
        check({"type": "object", "properties": many})


@pytest.mark.parametrize("lengths", [range(1, 18), range(150, 160)], ids=["many", "long"])
def test_too_many_different_string_lengths_are_refused(lengths):
    strings = [{"type": "string", "maxLength": length} for length in lengths]
    with pytest.raises(FormatError, match="lengths of too many strings"):
        check({"anyOf": strings})


def test_lengths_that_are_shared_count_once():
    check({"type": "object", "properties": {f"p{number}": {"type": "string", "maxLength": 99} for number in range(99)}})
