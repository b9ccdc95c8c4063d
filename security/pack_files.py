"""Rule files as they lie on disk: which ones there are, what is in them, and on which line something stands."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from security.rule import Rule
from switchtower.errors import RuleError

Stamp = tuple[str, int, int, int]


@dataclass(frozen=True)
class Written:
    """A rule, and where it is written."""

    rule: Rule
    file: Path
    source: str
    index: int

    def place(self, field: str = "name") -> str:
        """`file:line` of one of the rule's fields."""
        return f"{self.file}:{_line(self.source, self.index, field)}"


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and all `*.toml` of folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.toml"))
        else:
            yield path


def stamps(paths: Iterable[Path]) -> tuple[Stamp, ...]:
    """What changes when the files do: name, time of change in nanoseconds, size, inode; zeros for what is not there."""
    try:
        return tuple(map(_stamp, files(paths)))
    except OSError:
        return ()


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0, 0
    return str(file), found.st_mtime_ns, found.st_size, found.st_ino


def read(file: Path) -> Iterator[Written]:
    """The rules of a file, each sound in itself, or a RuleError that says where and why."""
    source = _source(file)
    tables = _tables(file, source)
    parts = _parts(file, source, tables.get("parts", {}))
    for index, table in enumerate(tables["rule"]):
        try:
            rule = Rule.model_validate(_expanded(table, parts))
        except (ValidationError, ValueError) as error:
            field, reason = _first(error)
            label = table.get("name", "?") if isinstance(table, dict) else "?"
            raise RuleError(f"{file}:{_line(source, index, field)}: rule `{label}`: {reason}") from error
        yield Written(rule, file, source, index)


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
