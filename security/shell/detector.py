"""The shell analysis as a detector beside the rules: commands as they are, and commands in what a model wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from security.shell.analysis import Analysis, analyse
from security.shell.outputs import MAX_COMMANDS, Written, blocks, tool_calls
from security.shell.tables import rows
from switchtower.models import Action, Finding, RiskLevel, Surface

_ROOM = Path(__file__).parent


class ShellDetector:
    """Judges commands; safe to share between threads.

    On the surface *command* the whole text is one. On *output*, a tool call that would be blocked is critical, for it
    is an attempt to act; in a fenced block only what destroys a system is blocked, for people ask how to delete things.
    """

    def __init__(self) -> None:
        rows()  # read the tables now, not with the first command

    @cached_property
    def version(self) -> str:
        """A hash of the analysis, its tables and the parser's versions."""
        digest = hashlib.sha256()
        for file in sorted((*_ROOM.rglob("*.py"), *_ROOM.rglob("*.toml"))):
            digest.update(file.relative_to(_ROOM).as_posix().encode() + b"\0" + file.read_bytes())
        for package in ("tree-sitter", "tree-sitter-bash"):
            digest.update(f"{package}={version(package)}".encode())
        return f"shell:{digest.hexdigest()}"

    def findings(self, text: str, surface: Surface) -> Iterable[Finding]:
        """What is dangerous about the command, or about the commands in an output."""
        if surface is Surface.COMMAND:
            return analyse(text).findings
        return _in_output(text) if surface is Surface.OUTPUT else ()


def _in_output(text: str) -> tuple[Finding, ...]:
    found: dict[str, Finding] = {}
    for commands, judged in ((tool_calls(text), _as_call), (blocks(text), _as_block)):
        for finding in _judged(commands, judged):
            found.setdefault(finding.rule, finding)
    return tuple(found.values())


def _judged(commands: Iterator[Written], judged: Callable[[Finding], Finding | None]) -> Iterator[Finding]:
    for command, complete in islice(dict.fromkeys(commands), MAX_COMMANDS):
        analysis = analyse(command)
        # Of what is still being written only that counts which no next word can make good.
        certain = analysis.findings if complete else _certain(analysis)
        yield from filter(None, map(judged, certain))


def _certain(analysis: Analysis) -> tuple[Finding, ...]:
    if not analysis.conclusive:
        return ()
    return tuple(finding for finding in analysis.findings if finding.action is Action.BLOCK)


def _as_call(finding: Finding) -> Finding:
    risk = RiskLevel.CRITICAL if finding.action is Action.BLOCK else finding.risk
    return finding.model_copy(update={"risk": risk, "explanation": f"In a tool call, {finding.explanation}"})


def _as_block(finding: Finding) -> Finding | None:
    if finding.risk is not RiskLevel.CRITICAL:
        return None
    said = f"In a code block, {finding.explanation}"
    return finding.model_copy(update={"rule": f"{finding.rule}_shown", "risk": RiskLevel.HIGH, "explanation": said})
