"""The tables of dangerous commands: TOML rows of a command, its words and options, and what they do.

A row's `words` are operands from the left (subcommands), each a choice by `|`, with `*` at either end; an operand that
may be an option's value can be passed over, and `**` stands for any number of operands. `options` are any of, `also`
any of as well, `args` patterns for any single word, and `unless` what makes the command harmless.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from security.shell import dangers
from security.shell.call import Call, Options, sort_options
from security.shell.dangers import Danger
from security.shell.marks import emptied, open_ended
from security.shell.names import names
from security.shell.walker import Walker
from switchtower.models import Action, RiskLevel

TABLES = Path(__file__).parent / "tables"
_NOT_ROWS = frozenset({"wrappers.toml", "oneliners.toml"})
_HARMLESS = names(
    "--help --version --dry-run --dryrun --dry-run=client --dry-run=server --dry-run=true --what-if -whatif --simulate"
    " --just-print --noop --no-act --plan"
)
Pattern = frozenset[str]
Operand = tuple[str, bool]
"""A word that is no option, and whether it may be the value of the option before it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of dangerous command, with commands that prove it."""

    danger: Danger
    commands: frozenset[str]
    words: tuple[tuple[Pattern, ...], ...]
    options: tuple[str, ...]
    also: tuple[str, ...]
    args: Pattern
    unless: frozenset[str]
    matches: tuple[str, ...]
    passes: tuple[str, ...]

    def judges(self, given: list[str], options: Options, operands: list[Operand]) -> bool:
        """Whether the row is about a command with these words."""
        return (
            (not self.words or any(_leads(path, operands) for path in self.words))
            and (not self.options or options.any(*self.options))
            and (not self.also or options.any(*self.also))
            and (not self.args or any(_fits(self.args, word) for word in given))
            and not (self.unless and (options.any(*self.unless) or not self.unless.isdisjoint(given)))
        )


def judge_rows(walker: Walker, call: Call) -> None:
    """Report every row that is about this command."""
    rows = _index().get(call.name)
    if rows is None:
        return
    words = [emptied(word) for word in call.words] if any(map(open_ended, call.words)) else call.words
    before = words[: words.index("--")] if "--" in words else words
    if not _HARMLESS.isdisjoint(word.lower() for word in before):
        return
    options, operands = sort_options(words), _operands(call.words)
    for row in rows:
        if row.judges(words, options, operands):
            unsure = row.words and not any(_leads(path, operands, known=True) for path in row.words)
            walker.report(dangers.UNKNOWN_COMMAND if unsure else row.danger, call.name)


def _operands(words: list[str]) -> list[Operand]:
    found, before = [], ""
    for word in words:
        if word[:1] not in {"-", "/"} or len(word) == 1 or before == "--":
            found.append((word, before[:1] == "-" and "=" not in before and before != "--"))
        before = word
    return found


def _leads(path: tuple[Pattern, ...], operands: list[Operand], *, known: bool = False) -> bool:
    """Whether the operands begin with a path of patterns; an operand nobody knows fits unless it must be known."""
    if not path:
        return True
    if "**" in path[0]:
        return any(_leads(path[1:], operands[place:], known=known) for place in range(min(len(operands), 6)))
    if not operands:
        return False
    word, may_be_value = operands[0]
    fits = _fits(path[0], emptied(word)) or (not known and word and not emptied(word))
    if fits and _leads(path[1:], operands[1:], known=known):
        return True
    return may_be_value and _leads(path, operands[1:], known=known)


def _fits(pattern: Pattern, word: str) -> bool:
    return word in pattern or any(_globs(one, word) for one in pattern if "*" in one)


def _globs(pattern: str, word: str) -> bool:
    head, _, tail = pattern.partition("*")
    if tail.endswith("*"):
        return word.startswith(head) and tail[:-1] in word[len(head) :]
    return len(word) >= len(head) + len(tail) and word.startswith(head) and word.endswith(tail)


@cache
def rows() -> tuple[Row, ...]:
    """All rows of all tables."""
    files = sorted(file for file in TABLES.glob("*.toml") if file.name not in _NOT_ROWS)
    return tuple(row for file in files for row in _read(file))


@cache
def _index() -> dict[str, tuple[Row, ...]]:
    found: dict[str, tuple[Row, ...]] = {}
    for row in rows():
        for name in row.commands:
            found[name] = (*found.get(name, ()), row)
    return found


def _read(file: Path) -> Iterator[Row]:
    for table in tomllib.loads(file.read_text(encoding="utf-8"))["danger"]:
        yield _row(table)


def _row(table: dict[str, Any]) -> Row:
    danger = Danger(table["name"], RiskLevel(table["risk"]), Action(table["action"]), table["explanation"])
    paths = [tuple(frozenset(step.split("|")) for step in path.split()) for path in table.get("words", ())]
    listed: dict[str, Any] = {key: tuple(table.get(key, ())) for key in ("options", "also", "matches", "passes")}
    sets: dict[str, Any] = {key: frozenset(table.get(key, ())) for key in ("commands", "args", "unless")}
    return Row(danger=danger, words=tuple(paths), **listed, **sets)
