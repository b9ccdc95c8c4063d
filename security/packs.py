"""Rule packs: TOML files of rules that prove themselves by their own examples before they are used.

A file holds `[[rule]]` tables and, if it likes, one `[parts]` table of named fragments that its patterns use as
`{{name}}`. Rules see several views of a text, one of them folded to lower case: a pattern in lower case ignores
case, a pattern with capitals asks for them.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from security.matcher import Matcher, MatcherError, refusal
from security.normalize import views
from switchtower.errors import RuleError
from switchtower.models import Action, Frozen, RiskLevel, Surface

RULES = Path(__file__).parent / "rules"
_Examples = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Rule(Frozen):
    """One pattern, where it applies, how bad a hit is, and texts that prove it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    pattern: str = Field(min_length=1)
    applies_to: frozenset[Surface] = Field(min_length=1)
    risk: RiskLevel
    action: Action
    explanation: str = Field(min_length=10, max_length=500)
    matches: _Examples
    passes: _Examples

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        if reason := refusal(pattern):
            raise ValueError(reason)
        return pattern

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.risk is RiskLevel.CRITICAL and self.action is not Action.BLOCK:
            raise _fault("action", "a critical rule must block")
        if self.risk is RiskLevel.HIGH and self.action is Action.ALLOW:
            raise _fault("action", "a high rule must ask or block")
        return self

    @model_validator(mode="after")
    def _behaves(self) -> Self:
        matcher = Matcher([self.pattern])
        for surface in sorted(self.applies_to):
            for field, wanted in (("matches", True), ("passes", False)):
                for place, example in enumerate(getattr(self, field), start=1):
                    if bool(matcher.search(views(example, surface))) is not wanted:
                        verb = "does not match" if wanted else "matches"
                        raise _fault(field, f"example {place} of `{field}` {verb} on {surface}")
        return self


def _fault(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})


class RulePack(Frozen):
    """A set of rules that was read and proved as a whole."""

    rules: tuple[Rule, ...]
    paths: tuple[Path, ...] = ()

    @classmethod
    def load(cls, paths: Iterable[Path] = (RULES,)) -> Self:
        """Read files, and all `*.toml` of folders, or raise a RuleError that says where and why."""
        given = tuple(Path(path) for path in paths)
        rules: dict[str, tuple[Rule, str]] = {}
        for file in _files(given):
            for rule, place in _read(file):
                if rule.name in rules:
                    raise RuleError(f"{place}: rule `{rule.name}` is already defined at {rules[rule.name][1]}")
                rules[rule.name] = (rule, place)
        if not rules:
            raise RuleError(f"{', '.join(map(str, given)) or 'no path'}: no rules; an empty pack would pass everything")
        return cls(rules=tuple(rule for rule, _ in rules.values()), paths=given)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the rules say, whatever their order, files and comments."""
        rows = sorted((_canonical(rule) for rule in self.rules), key=lambda row: str(row["name"]))
        return hashlib.sha256(json.dumps(rows, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def on(self, surface: Surface) -> tuple[Rule, ...]:
        """The rules that apply to a surface."""
        return tuple(rule for rule in self.rules if surface in rule.applies_to)


def _canonical(rule: Rule) -> dict[str, object]:
    row: dict[str, object] = rule.model_dump(mode="json")
    return {**row, "applies_to": sorted(rule.applies_to)}


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.toml"))
        else:
            yield path


def _read(file: Path) -> Iterator[tuple[Rule, str]]:
    source = _source(file)
    tables = _tables(file, source)
    parts = _parts(file, source, tables.get("parts", {}))
    for index, table in enumerate(tables["rule"]):
        try:
            rule = Rule.model_validate(_expanded(table, parts))
        except (ValidationError, MatcherError, ValueError) as error:
            field, reason = _first(error)
            label = table.get("name", "?") if isinstance(table, dict) else "?"
            raise RuleError(f"{file}:{_line(source, index, field)}: rule `{label}`: {reason}") from error
        yield rule, f"{file}:{_line(source, index, 'name')}"


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RuleError(f"{file}:{line}: not UTF-8") from error
    except OSError as error:
        raise RuleError(f"{file}:1: cannot be read: {error.strerror}") from error


def _tables(file: Path, source: str) -> dict[str, Any]:
    try:
        tables = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise RuleError(f"{file}:{_decode_line(source, str(error))}: bad TOML: {error}") from error
    if unknown := sorted(tables.keys() - {"rule", "parts"}):
        raise RuleError(f"{file}:{_key_line(source, unknown[0])}: unknown field `{unknown[0]}`")
    if not isinstance(tables.get("rule"), list) or not tables["rule"]:
        raise RuleError(f"{file}:1: no `[[rule]]` in this file")
    return tables


def _parts(file: Path, source: str, table: object) -> dict[str, str]:
    known: dict[str, str] = {}
    if not isinstance(table, dict):
        raise RuleError(f"{file}:{_key_line(source, 'parts')}: `parts` must be a table of names and patterns")
    for name, fragment in table.items():
        try:
            known[name] = _filled(fragment, known)
        except (TypeError, ValueError) as error:
            raise RuleError(f"{file}:{_key_line(source, name)}: part `{name}`: {error}") from error
    return known


def _expanded(table: object, parts: dict[str, str]) -> object:
    if isinstance(table, dict) and isinstance(table.get("pattern"), str):
        return {**table, "pattern": _filled(table["pattern"], parts)}
    return table


def _filled(pattern: object, parts: dict[str, str]) -> str:
    if not isinstance(pattern, str):
        raise TypeError("must be a string")
    for name, fragment in parts.items():
        pattern = pattern.replace("{{" + name + "}}", fragment)
    _, found, rest = pattern.partition("{{")
    if found:
        raise ValueError(f"unknown part `{rest.partition('}}')[0][:40]}`")
    return pattern


def _first(error: Exception) -> tuple[str, str]:
    if not isinstance(error, ValidationError):
        return "pattern", str(error)
    detail = error.errors(include_url=False, include_input=False)[0]
    field = str(detail["loc"][0] if detail["loc"] else detail.get("ctx", {}).get("field", "name"))
    if detail["type"] == "extra_forbidden":
        return field, f"unknown field `{field}`"
    reason = detail["msg"].removeprefix("Value error, ")
    return field, f"{field}: {reason}" if detail["loc"] else reason


def _line(source: str, index: int, field: str) -> int:
    """The line of a field in the rule with this index, or of the rule's header, or 1."""
    lines = source.splitlines()
    heads = [number for number, line in enumerate(lines, start=1) if line.replace(" ", "").startswith("[[rule]]")]
    if index >= len(heads):
        return 1
    end = heads[index + 1] - 1 if index + 1 < len(heads) else len(lines)
    inside = range(heads[index], end)
    return next((number + 1 for number in inside if _sets(lines[number], field)), heads[index])


def _key_line(source: str, key: str) -> int:
    lines = source.splitlines()
    heads = (f"[{key}]", f"[[{key}]]")
    return next((n for n, line in enumerate(lines, 1) if _sets(line, key) or line.strip().startswith(heads)), 1)


def _sets(line: str, key: str) -> bool:
    return line.partition("=")[0].strip().strip("\"'") == key and "=" in line


def _decode_line(source: str, message: str) -> int:
    # Python 3.11's TOML error carries its line only in its text.
    _, found, rest = message.rpartition("(at line ")
    return int(rest.split(",", 1)[0]) if found else max(1, len(source.splitlines()))
