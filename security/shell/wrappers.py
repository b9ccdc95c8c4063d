"""Commands that run the command in their words: sudo, env, timeout, docker exec, ssh and their kin.

The table `tables/wrappers.toml` says for each which options take a value, how many operands stand before the command,
which subcommands run one, and whether the words are joined and read by a shell.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from security.shell.call import Call, Options, sort_options
from security.shell.handlers import HANDLERS
from security.shell.names import names
from security.shell.tables import TABLES
from security.shell.walker import Walker

_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How one command carries another."""

    valued: frozenset[str] = frozenset()
    skip: int = 0
    subcommands: frozenset[str] = frozenset()
    scripts: frozenset[str] = frozenset()
    """Options whose value is a script."""
    joined: bool = False
    """The words after the operands are one script."""
    settings: bool = False
    """`NAME=value` words may stand before the command."""
    unless: frozenset[str] = frozenset()
    """Options with which nothing is run."""

    anywhere: bool = False
    """Options may follow operands, and nothing but their scripts is run."""

    def run(self, walker: Walker, call: Call) -> str | None:
        """Run what the words carry; gives its output, or None where they carry nothing."""
        words = self._after_subcommand(call.words) if self.subcommands else call.words
        if words is None:
            return None
        options = sort_options(words, self.valued | self.scripts, leading=not self.anywhere)
        if not self.unless.isdisjoint(options.flags):
            return None
        scripts = [options.values[flag] for flag in self.scripts & options.values.keys()]
        outputs = [walker.code(script, call.name, call.stdin) for script in scripts]
        commands = () if self.anywhere else self._commands(options, words)
        outputs += [self._carried(walker, call, command) for command in commands]
        return outputs[-1] if outputs else None

    def _carried(self, walker: Walker, call: Call, command: list[str]) -> str:
        if command[0] in self.scripts and len(command) > 1:
            return walker.code(command[1], call.name, call.stdin)
        if self.joined:
            return walker.code(" ".join(command), call.name, call.stdin)
        return walker.execute(command, call.stdin)

    def _after_subcommand(self, words: list[str]) -> list[str] | None:
        for place, word in enumerate(words[:8]):
            if word in self.subcommands:
                return words[place + 1 :]
        return None

    def _commands(self, options: Options, words: list[str]) -> Iterator[list[str]]:
        operands = options.operands
        while self.settings and operands and _SETTING.fullmatch(operands[0]):
            operands = operands[1:]
        command = operands[self.skip :]
        if self.skip and command and command[0][:1] == "-" and command[0] not in self.scripts:
            command = sort_options(command, self.valued, leading=True).operands  # as in `kubectl exec pod -c x -- ls`
        if command:
            yield command
        # An option that the table does not know may have taken the first of these words as its value.
        before = words[: len(words) - len(operands)][-1:]
        if len(command) > 1 and before and before[0][:2] == "--" and "=" not in before[0] and before != ["--"]:
            yield command[1:]


def _load() -> dict[str, Wrapper]:
    table = tomllib.loads((TABLES / "wrappers.toml").read_text(encoding="utf-8"))
    return {name: _wrapper(row) for listed, row in table.items() for name in names(listed)}


def _wrapper(row: dict[str, Any]) -> Wrapper:
    sets: dict[str, Any] = {key: names(row.get(key, "")) for key in ("valued", "subcommands", "scripts", "unless")}
    flags: dict[str, Any] = {key: bool(row.get(key)) for key in ("joined", "settings", "anywhere")}
    return Wrapper(skip=row.get("skip", 0), **flags, **sets)


WRAPPERS = _load()
HANDLERS.update({name: wrapper.run for name, wrapper in WRAPPERS.items()})
