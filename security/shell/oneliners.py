"""Programs of other languages in a command line: `python -c`, `perl -e` and their kin, read by their words.

The code is not parsed. Its names say what it can do (run programs, delete, hide), its string literals say to what. So
a literal is judged as a command where the code can run programs, and as a path where it can delete. Adjacent literals
count also as one command, as in `["rm", "-rf", "/"]`, and as one text, as in `"r" + "m"`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import partial

from security.shell import dangers
from security.shell.limits import MAX_ROUNDS
from security.shell.marks import open_ended
from security.shell.names import names
from security.shell.quoting import ansi
from security.shell.removal import remove
from security.shell.stores import judge_sql
from security.shell.tables import TABLES
from security.shell.walker import Walker

# A literal that is open at the end runs to the end, so that one pass does, whatever the text.
_TOKEN = re.compile(
    r"""(?P<text>\"\"\"(?:[^\\]|\\.?)*?(?:\"\"\"|\Z)|'''(?:[^\\]|\\.?)*?(?:'''|\Z)"""
    r"""|"(?:[^"\\]|\\.?)*(?:"|\Z)|'(?:[^'\\]|\\.?)*(?:'|\Z))"""
    r"""|(?P<ticks>`(?:[^`\\]|\\.?)*(?:`|\Z)"""
    r"""|(?:%x|qx)(?:\{[^}]*(?:\}|\Z)|\([^)]*(?:\)|\Z)|/[^/]*(?:/|\Z)|\[[^\]]*(?:\]|\Z)|![^!]*(?:!|\Z)))"""
    r"""|(?P<braced>(?:%[qQ]?|qq?)(?:\{[^}]*(?:\}|\Z)|\([^)]*(?:\)|\Z)|\[[^\]]*(?:\]|\Z)))"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<gap>\s+)|(?P<other>.)""",
    re.DOTALL,
)
_WORDS = {kind: names(text) for kind, text in tomllib.loads((TABLES / "oneliners.toml").read_text("utf-8")).items()}
_JOINS = re.compile(
    r"\[::|[\"']\s{0,9}[+%.]\s{0,9}[\w(\[]|[\w)\]]\s{0,9}[+.]\s{0,9}[\"']|\b[fF][\"']|#\{|\$\{|\$[a-z_]", re.ASCII
)
_PIPES = re.compile(r"^\s*\|(.+)|(.+)\|\s*$", re.DOTALL)
_GLOBS = re.compile(r"<([^<>\n]*[*?][^<>\n]*)>")
_SHELLS = re.compile(r"(?:/(?:usr/)?bin/)?(?:ba|z|da|k|a)?sh(?: -i)?$|cmd(?:\.exe)?$|powershell(?:\.exe)?$")
_BOMB = re.compile(
    r"\bfork\b(?:\(\))?\s{0,9}(?:while|until|for\b)|(?:while|loop|for)\b[^;\n]{0,99}[:;{(\s]\s{0,9}(?:os\.)?fork\b"
)


@dataclass(slots=True)
class _Code:
    names: set[str]
    literals: list[str]
    commands: list[str]
    """What stands in backquotes, and runs."""
    groups: list[list[str]]
    """Literals with nothing but commas or signs of joining between them."""


def judge_code(walker: Walker, command: str, source: str) -> None:
    """Judge a program by its names and literals; `command` is the interpreter's name."""
    if danger := dangers.code_from(source):
        walker.report(danger, command)
    code = _read(
        _GLOBS.sub(r" '\1' ", source) if command == "perl" else source,
        templates=command in {"node", "nodejs", "bun", "deno"},
    )
    if any(code.names & words for words in _WORDS.values()):
        walker.programs[source] = None
    runs = bool(code.names & _WORDS["runs"]) or (command in {"awk", "gawk", "mawk", "nawk"} and "|" in source)
    if command in {"vi", "vim", "ex", "gdb"} and "!" in source:
        walker.script(source.partition("!")[2])
    for text in code.commands:
        _as_script(walker, text)
    for found in filter(None, map(_PIPES.match, code.literals if "open" in code.names else ())):
        _as_script(walker, found[1] or found[2])
    if _BOMB.search(source):
        walker.report(dangers.FORK_BOMB, command)
    _judge_hiding(walker, command, code, runs=runs)
    if runs:
        _judge_running(walker, command, code, source)
    _judge_deleting(walker, command, code)
    for text in code.literals:
        judge_sql(walker, command, text)


def _judge_running(walker: Walker, command: str, code: _Code, source: str) -> None:
    if (not code.literals and not code.commands) or code.names & _WORDS["builds"] or _JOINS.search(source):
        walker.report(dangers.SCRIPT_UNKNOWN, command)
    for text in code.literals[: MAX_ROUNDS * 4]:
        _as_script(walker, text)
    for text in code.literals if code.names & {"exec", "eval"} else ():
        if text != source and "(" in text:
            walker.nested(partial(judge_code, walker, command, text))
    for group in code.groups[:MAX_ROUNDS]:
        walker.execute([word for word in group if word])
        _as_script(walker, "".join(group))


def _as_script(walker: Walker, text: str) -> None:
    """Judge a literal that may be a command; that many a literal is none is no fault."""
    known = dangers.UNPARSED.name in walker.found
    walker.script(text)
    if not known:
        walker.found.pop(dangers.UNPARSED.name, None)


def _judge_deleting(walker: Walker, command: str, code: _Code) -> None:
    tree, single = bool(code.names & _WORDS["trees"]), bool(code.names & _WORDS["files"])
    if tree and not code.literals:
        walker.report(dangers.SCRIPT_UNKNOWN, command)
    for text in [*code.literals, *("".join(group) for group in code.groups)] if tree or single else ():
        if tree or "/" in text or text == "~":
            remove(walker, command, text, tree=tree)
    if "open" in code.names or "writeFileSync" in code.names or "write_text" in code.names:
        for text in code.literals:
            if text[:1] in {"/", "~"} and {"w", "a", "wb", "ab", "r+", ">", ">>"} & {*code.literals, text[:1]}:
                walker.note(">>", text)


def _judge_hiding(walker: Walker, command: str, code: _Code, *, runs: bool) -> None:
    if code.names & _WORDS["sockets"] and (
        code.names & {"dup2", "pty", "spawn"} or any(map(_SHELLS.match, code.literals))
    ):
        walker.report(dangers.REMOTE_SHELL, command)
    if code.names & _WORDS["decodes"] and code.names & _WORDS["evaluates"]:
        walker.report(dangers.HIDDEN_CODE, command)
    if code.names & _WORDS["fetches"] and code.names & {"eval", "exec", "system", "Function"}:
        walker.report(dangers.REMOTE_CODE, command)
    if not runs and code.names & _WORDS["hides"] and _is_destructive(walker, code):
        walker.report(dangers.SCRIPT_HIDES, command)


def _is_destructive(walker: Walker, code: _Code) -> bool:
    """Whether a literal would be blocked as a command; the code may get at the means to run it by another name."""
    before = dict(walker.found)
    for text in [*code.literals, *("".join(group) for group in code.groups)]:
        _as_script(walker, text)
    worse = any(danger.action.value == "block" for name, (danger, _) in walker.found.items() if name not in before)
    walker.found = before
    return worse


def _read(source: str, *, templates: bool) -> _Code:
    """Sort a program's tokens; with `templates` backquotes hold a literal and no command."""
    code, group = _Code(set(), [], [], []), []
    for found in _TOKEN.finditer(source):
        kind, text = found.lastgroup, found[0]
        if kind in {"text", "braced"} or (kind == "ticks" and templates):
            group.append(_literal(text.lstrip("%qQ")))
            code.literals.append(group[-1])
            continue
        if kind == "ticks":
            code.commands.append(text.lstrip("%qx")[1:-1])
        elif kind == "name":
            code.names.add(text)
        if group and not (kind == "gap" or text in {",", "+", ".", "["}):
            code.groups += [group] if len(group) > 1 else []
            group = []
    code.groups += [group] if len(group) > 1 else []
    return code


def _literal(text: str) -> str:
    edge = 3 if text[:3] in {'"""', "'''"} else 1
    inner = text[edge:-edge]
    return ansi(inner) if "\\" in inner and not open_ended(inner) else inner
