"""One command in, three values out: allow, ask, block; what cannot be decided is *ask*."""

from __future__ import annotations

import re
from dataclasses import dataclass

from security.normalize import clean
from security.shell import (  # noqa: F401 - each registers what it knows about its commands
    builtin,
    carriers,
    dangers,
    filters,
    network,
    oneliners,
    permissions,
    processes,
    removal,
    runners,
    searching,
    stores,
    wrappers,
    writing,
)
from security.shell.call import Call
from security.shell.handlers import HANDLERS
from security.shell.limits import TooComplexError
from security.shell.marks import unmarked
from security.shell.tables import judge_rows
from security.shell.walker import Walker
from switchtower.models import Action, Finding, RiskLevel

_PROMPT = re.compile(r"^[ \t]*\$[ \t]+", re.MULTILINE)
_OPEN = frozenset({dangers.TOO_COMPLEX.name, dangers.UNPARSED.name})


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a command would do, the worst first."""

    action: Action
    risk: RiskLevel
    findings: tuple[Finding, ...] = ()

    @property
    def conclusive(self) -> bool:
        """Whether the whole command could be read; only then may its verdict stand instead of a rule's."""
        return not any(finding.rule.removeprefix("shell_") in _OPEN for finding in self.findings)


_HARMLESS = Analysis(Action.ALLOW, RiskLevel.LOW)


def analyse(command: str) -> Analysis:
    """Judge a command or script as a POSIX shell or bash would read it; raises nothing, whatever the text."""
    found: dict[str, tuple[dangers.Danger, str]] = {}
    for source in readings(command):
        found = {**walked(source).found, **found}
        if "<<" in source:
            found = {**_blocked(walked(source, takes_documents=False).found), **found}
    if not found:
        return _HARMLESS
    findings = tuple(_finding(danger, name) for danger, name in sorted(found.values(), key=_severity))
    return Analysis(findings[0].action, max((f.risk for f in findings), key=lambda risk: risk.rank), findings)


def readings(command: str) -> list[str]:
    """The text itself, and as it looks to a person, if that differs."""
    source = unmarked(command.replace("\r\n", "\n")).rstrip("\\")
    if "$ " in source:
        source = _PROMPT.sub("", source)
    found = [source]
    if not source.isascii():
        found.append(unmarked(clean(source)))
    return list(dict.fromkeys(found))


def walked(source: str, *, takes_documents: bool = True) -> Walker:
    """A walker that has run a script; where that is too complex it says so."""
    walker = Walker(HANDLERS, _judge, takes_documents=takes_documents)
    try:
        walker.script(source)
    except (TooComplexError, RecursionError):
        walker.report(dangers.TOO_COMPLEX, "script")
    except LookupError:  # where the parser mends an error, a node may lack any of its parts
        walker.report(dangers.UNPARSED, "script")
    return walker


def _judge(walker: Walker, call: Call) -> None:
    judge_rows(walker, call)
    writing.judge_reading(walker, call)
    carriers.judge_carried(walker, call)


def _blocked(found: dict[str, tuple[dangers.Danger, str]]) -> dict[str, tuple[dangers.Danger, str]]:
    return {name: one for name, one in found.items() if one[0].action is Action.BLOCK}


def _severity(found: tuple[dangers.Danger, str]) -> tuple[int, int, str]:
    danger = found[0]
    return -danger.action.rank, -danger.risk.rank, danger.name


def _finding(danger: dangers.Danger, command: str) -> Finding:
    explanation = f"`{command}` {danger.explanation}"
    return Finding(rule=f"shell_{danger.name}", risk=danger.risk, action=danger.action, explanation=explanation)
