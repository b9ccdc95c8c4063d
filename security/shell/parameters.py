"""Parameter expansion: `$x`, `${x:-y}`, `${x/a/b}` and their kin (Bash reference manual, 3.5.3).

A variable that the script did not set counts as unset where an operator asks, and as unknown where its value is asked
for. Pattern operators are evaluated where the pattern is literal; everything else is unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tree_sitter import Node

from security.shell.limits import MAX_VALUE
from security.shell.marks import UNKNOWN, UNSET, open_ended
from security.shell.scope import Scope, Value
from security.shell.syntax import text_of

_GLOB = frozenset("*?[+@!\\")
_STANDING_IN = frozenset({"~", "."})
"""What stands for a folder whose name is not known: fit to be part of a path, not to be cut up."""


class _Host(Protocol):
    scope: Scope

    def visit(self, node: Node) -> None: ...


class Parameters:
    """Evaluates expansions of one shell; `value` evaluates the word behind an operator."""

    def __init__(self, host: _Host, value: Callable[[Node], str]) -> None:
        self._host = host
        self._value = value

    def value(self, node: Node) -> Value:
        """What an expansion gives, a list where it gives words of their own."""
        inner = [child for child in node.children if child.type not in {"$", "${", "}"}]
        if not inner:
            return UNKNOWN  # the parser mended an expansion that names nothing
        if len(inner) == 1 or node.type == "simple_expansion":
            found = self._named(inner[0])
            return UNSET if found is None else found
        if inner[0].type in {"#", "!"}:
            return self._marked(inner[0].type, inner[1:])
        return self._operated(inner[0], inner[1].type, inner[2:])

    def _named(self, node: Node) -> Value | None:
        if node.type == "subscript":
            return self._element(node)
        found = self._host.scope.get(text_of(node).strip())
        # `$x` of an array is its first element; `$@` and `$*` are all words.
        return found[0] if isinstance(found, list) and found and node.type == "variable_name" else found

    def _element(self, node: Node) -> Value | None:
        whole = self._host.scope.get(text_of(node.children[0]))
        place = self._value(node.children[2]) if node.children[2:] else ""
        if place in {"@", "*"} or whole is None:
            return whole
        if isinstance(whole, str):
            return whole if place == "0" else UNKNOWN
        return whole[int(place)] if place.isdigit() and int(place) < len(whole) else UNKNOWN

    def _marked(self, mark: str, inner: list[Node]) -> Value:
        if len(inner) != 1:
            self._visit(inner)
            return UNKNOWN
        found = self._named(inner[0])
        if mark == "#":
            return UNKNOWN if not isinstance(found, str) or open_ended(found) else str(len(found))
        pointed = self._host.scope.get(found) if isinstance(found, str) else None
        return UNKNOWN if pointed is None else pointed

    def _operated(self, name: Node, operator: str, rest: list[Node]) -> Value:
        found = self._named(name)
        if operator in {":-", "-", ":=", "="}:
            return self._default(name, found, operator, rest)
        if operator in {":+", "+"}:
            other = self._joined(rest)
            return UNKNOWN if found is None or open_ended(_text(found)) else other if found else ""
        operands = [part for part in rest if part.type != operator and part.type not in {"/", ":"}]
        texts = [self._value(part) for part in operands]
        if not isinstance(found, str) or found in _STANDING_IN or open_ended(found) or any(map(open_ended, texts)):
            return UNKNOWN if found is None or operator not in {":?", "?"} else found
        return _computed(found, operator, texts)

    def _default(self, name: Node, found: Value | None, operator: str, rest: list[Node]) -> Value:
        other = self._joined(rest)
        value = other if found is None or (not found and operator.startswith(":")) else found
        if "=" in operator and name.type == "variable_name":
            self._host.scope.set(text_of(name), value)
        return value

    def _joined(self, nodes: list[Node]) -> str:
        return "".join(self._value(node) for node in nodes)

    def _visit(self, nodes: list[Node]) -> None:
        for node in nodes:
            self._host.visit(node)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else " ".join(value)


def _computed(found: str, operator: str, texts: list[str]) -> str:
    if operator == ":":
        return _slice(found, texts)
    if operator in {"^^", ",,", "^", ","} and not texts:
        return _cased(found, operator)
    if operator in {":?", "?"}:
        return found
    if not texts or _GLOB & set(texts[0]):
        return UNKNOWN
    return _cut(found, operator, texts)


def _cut(found: str, operator: str, texts: list[str]) -> str:
    match operator:
        case "#" | "##":
            return found.removeprefix(texts[0])
        case "%" | "%%":
            return found.removesuffix(texts[0])
        case "/" | "//":
            new = texts[1] if len(texts) > 1 else ""
            grown = found.count(texts[0]) * len(new) if texts[0] else MAX_VALUE
            return found.replace(texts[0], new, 1 if operator == "/" else -1) if grown < MAX_VALUE else UNKNOWN
        case _:
            return UNKNOWN


def _slice(found: str, texts: list[str]) -> str:
    numbers = [text.strip() for text in texts]
    if not numbers or not all(number.lstrip("-").isdigit() for number in numbers):
        return UNKNOWN
    start = int(numbers[0])
    tail = found[start:] if start >= 0 or -start <= len(found) else ""
    if len(numbers) == 1:
        return tail
    length = int(numbers[1])
    return tail[:length] if length >= 0 else UNKNOWN


def _cased(found: str, operator: str) -> str:
    change = str.upper if "^" in operator else str.lower
    return change(found) if operator in {"^^", ",,"} else change(found[:1]) + found[1:]
