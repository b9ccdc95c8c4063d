"""Which JSON schemas a grammar keeps to the letter; what it would only seem to keep is refused.

The compiler behind `grammar.py` takes many keywords that it then ignores, some always (`uniqueItems`), some beside
others (`maxLength` beside `enum`). An answer under such a schema could break it and look finished. So a schema may
say only what is known to be kept.

Covered: `type` (also a list), `enum`, `const`, `anyOf`, `$ref` to `#`, `#/$defs/…` or `#/definitions/…`; lengths and
`format` of strings (the form of a date, not whether the day exists); bounds of numbers; `properties`, `required`,
`additionalProperties`; `items`, `prefixItems`, `minItems`, `maxItems`; and every annotation.
Not covered: `pattern`, `oneOf`, `allOf`, `not`, `if`, `multipleOf`, `uniqueItems`, `contains`, `patternProperties` …
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from switchtower.errors import FormatError

MAX_PROPERTIES = 256
"""In one object: the time to compile it grows with their square."""

MAX_LENGTHS = 1024
"""The sum of all different string lengths, each up to 200: every character of them is tried on every token."""

MAX_BOUNDED = 16
"""Different string lengths: as alternatives of one another, each makes every step of an answer slower."""

_LONGEST_TRIED = 200

_NOTES = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$comment"}
)
_DEFINITIONS = ("$defs", "definitions")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_KEPT: Mapping[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "format"}),
    "integer": _BOUNDS,
    "number": _BOUNDS,
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
_TYPES = {str: "string", int: "integer", float: "number", dict: "object", list: "array", bool: "boolean"}
_REFERENCE = re.compile(r"#|#/(\$defs|definitions)/[^/~%]+")

Schema = Any
"""An object, or true or false."""


def check(schema: dict[str, Any]) -> None:
    """Raise `FormatError` for a schema that a grammar would not keep to the letter, or not compile in good time."""
    named = {"#": schema, **_definitions(schema)}
    nodes = [node for name, one in named.items() for node in _nodes(one, name)]
    for where, node in nodes:
        _check(where, node, named)
    _check_lengths(node for _, node in nodes if isinstance(node, dict))
    if endless := named.keys() - _finite(named):
        raise FormatError(f"no answer under {', '.join(map(_place, sorted(endless)))} could ever end")


def _definitions(schema: dict[str, Any]) -> dict[str, Schema]:
    shelves = {shelf: schema[shelf] for shelf in _DEFINITIONS if shelf in schema}
    for shelf, found in shelves.items():
        _expect(isinstance(found, dict), f"#/{shelf}", "must be an object")
    return {f"#/{shelf}/{name}": one for shelf, found in shelves.items() for name, one in found.items()}


def _nodes(node: Schema, where: str) -> Iterator[tuple[str, Schema]]:
    """The schema and all schemas inside, each with its place."""
    yield where, node
    if not isinstance(node, dict):
        return
    for name, inner in _inside(node, where):
        yield from _nodes(inner, f"{where}/{name}")


def _inside(node: dict[str, Any], where: str) -> Iterator[tuple[str, Schema]]:
    for name in ("items", "additionalProperties"):
        if name in node and not isinstance(node[name], bool):
            yield name, node[name]
    for name in ("anyOf", "prefixItems"):
        found = node.get(name, [])
        _expect(isinstance(found, list), where, f"`{name}` must be a list")
        yield from ((f"{name}/{index}", inner) for index, inner in enumerate(found))
    found = node.get("properties", {})
    _expect(isinstance(found, dict), where, "`properties` must be an object")
    yield from ((f"properties/{name}", inner) for name, inner in found.items())


def _check(where: str, node: Schema, named: Mapping[str, Schema]) -> None:
    if node is True:
        return
    _expect(isinstance(node, dict), where, "is no schema that an answer could keep")
    said = node.keys() - _NOTES - (set(_DEFINITIONS) if where == "#" else set())
    allowed = _allowed(where, node)
    if lost := sorted(said - allowed):
        beside = f"beside {', '.join(sorted(said & allowed))}" if said & allowed else "by itself"
        raise FormatError(f"{_place(where)} says {', '.join(lost)}, which cannot be kept {beside}")
    _check_values(where, node)
    reference = node.get("$ref", "#")
    fits = isinstance(reference, str) and _REFERENCE.fullmatch(reference) and reference in named
    _expect(bool(fits), where, "refers to what is not in the schema's own definitions")


def _allowed(where: str, node: dict[str, Any]) -> frozenset[str]:
    """The keywords that are kept beside the one that says most."""
    for head in ("$ref", "anyOf"):
        if head in node:
            return frozenset({head})
    for head in ("enum", "const"):
        if head in node:
            return frozenset({head, "type"})
    kept = [_kept(where, one) for one in _types(node)]
    return frozenset({"type"}).union(*kept) if kept else frozenset()


def _types(node: dict[str, Any]) -> list[Any]:
    found = node.get("type", [])
    return found if isinstance(found, list) else [found]


def _kept(where: str, name: Any) -> frozenset[str]:
    _expect(isinstance(name, str) and name in _KEPT, where, f"has no known `type` ({', '.join(_KEPT)})")
    return _KEPT[name]


def _check_values(where: str, node: dict[str, Any]) -> None:
    """Raise for keywords whose values contradict one another."""
    values = [node["const"]] if "const" in node else node.get("enum", [])
    fits = isinstance(values, list) and all(_is_of(value, _types(node)) for value in values)
    _expect(fits, where, "must list values of its own `type` under `enum` or `const`")
    counts = [node[name] for name in _COUNTS if name in node]
    _expect(all(type(count) is int and count >= 0 for count in counts), where, "has a length that is no whole number")
    _expect("format" not in node or not node.keys() & {"minLength", "maxLength"}, where, "has a `format` and a length")
    _expect(len(node.keys() & {"minimum", "exclusiveMinimum"}) <= 1, where, "has two lower bounds")
    _expect(len(node.keys() & {"maximum", "exclusiveMaximum"}) <= 1, where, "has two upper bounds")
    properties, required = node.get("properties", {}), node.get("required", [])
    _expect(len(properties) <= MAX_PROPERTIES, where, f"has more than {MAX_PROPERTIES} properties")
    listed = isinstance(required, list) and all(isinstance(name, str) for name in required)
    _expect(listed and set(required) <= properties.keys(), where, "requires what is not among its `properties`")
    closed = not properties or node.get("additionalProperties", False) is False
    _expect(closed, where, "has `properties` and allows others, whose names could be the same; list them all")


def _is_of(value: Any, types: list[Any]) -> bool:
    found = _TYPES.get(type(value), "null")
    return not types or found in types or (found == "integer" and "number" in types)


def _check_lengths(nodes: Iterator[dict[str, Any]]) -> None:
    lengths = {(node.get("minLength", 0), node.get("maxLength", 0)) for node in nodes}
    lengths.discard((0, 0))
    if len(lengths) > MAX_BOUNDED or sum(min(max(pair), _LONGEST_TRIED) for pair in lengths) > MAX_LENGTHS:
        raise FormatError("the schema bounds the lengths of too many strings; leave out some `maxLength`, or share one")


def _finite(named: Mapping[str, Schema]) -> set[str]:
    """The definitions under which an answer can end: those that need only such ones."""
    found: set[str] = set()
    while more := {name for name in named.keys() - found if _ends(named[name], found)}:
        found |= more
    return found


def _ends(node: Schema, finite: set[str]) -> bool:
    if not isinstance(node, dict):
        return True
    if "$ref" in node:
        return node["$ref"] in finite
    if "anyOf" in node:
        return any(_ends(one, finite) for one in node["anyOf"])
    needed = [node["properties"][name] for name in node.get("required", [])]
    first, least = node.get("prefixItems", []), node.get("minItems", 0)
    needed += [*first[:least], *([node.get("items", True)] if least > len(first) else [])]
    return all(_ends(one, finite) for one in needed)


def _expect(holds: bool, where: str, otherwise: str) -> None:
    if not holds:
        raise FormatError(f"{_place(where)} {otherwise}")


def _place(where: str) -> str:
    return "the schema" if where == "#" else f"the schema's {where.removeprefix('#/')}"
