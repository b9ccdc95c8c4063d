"""What a script has set up so far: variables, functions, aliases, files, the folder it is in."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import replace as changed

from tree_sitter import Node

from security.shell.marks import UNKNOWN, UNSET
from security.shell.names import names

Value = str | list[str]

_SURROUNDINGS: dict[str, Value] = {
    "HOME": "~",
    "IFS": " \t\n",
    "PWD": ".",
    "TMPDIR": "/tmp",  # noqa: S108 - a name in a command that is read, no file of ours
    "SHELL": "/bin/sh",
    "BASH": "/bin/bash",
    "0": "sh",
    "#": "0",
    **dict.fromkeys(
        names(
            "PATH USER LOGNAME HOSTNAME HOST LANG TERM UID EUID PPID RANDOM SRANDOM SECONDS EPOCHSECONDS LINENO"
            " OSTYPE MACHTYPE HOSTTYPE BASH_VERSION BASHPID BASHOPTS SHELLOPTS SHLVL OLDPWD OPTIND COLUMNS LINES"
            " ! $ ? - _"
        ),
        UNSET,
    ),
}
"""What the surroundings set. Unset stays unset: what a script never gave a value has none that is known."""


@dataclass(slots=True)
class Scope:
    """The state that commands of one shell share; a subshell works on a copy."""

    variables: dict[str, Value] = field(default_factory=_SURROUNDINGS.copy)
    functions: dict[str, Node] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """What the script wrote where."""
    programs: dict[str, str] = field(default_factory=dict)
    """Programs that the script copied or linked, by their new paths."""
    arguments: list[str] | None = None
    folder: str = "."
    branches: int = 0
    """How many conditions stand around the command; what is set there may not have been set."""

    def copy(self) -> Scope:
        """The same, for a subshell."""
        return changed(
            self,
            variables=self.variables.copy(),
            functions=self.functions.copy(),
            aliases=self.aliases.copy(),
        )

    def get(self, name: str) -> Value | None:
        """A variable's value, or None where the script has not set it."""
        if name in {"@", "*"}:
            return self.arguments
        if name.isdigit() and name != "0":
            return self._argument(int(name))
        return self.variables.get(name)

    def set(self, name: str, value: Value) -> None:
        """Give a variable a value; one that may or may not have been given is unknown."""
        if self.branches and self.variables.get(name, value) != value:
            value = UNKNOWN
        self.variables[name] = value

    def _argument(self, place: int) -> str | None:
        if self.arguments is None:
            return None
        return self.arguments[place - 1] if place <= len(self.arguments) else ""
