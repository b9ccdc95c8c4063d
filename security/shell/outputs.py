"""Commands in what a model wrote: tool calls, which are attempts to act, and fenced blocks, which are advice.

Tool calls are JSON objects with a command, tags such as `<bash>` or `<parameter name="command">`, and the lines
`Action:` and `Action Input:` (ReAct, Yao et al. 2022). Fenced blocks are CommonMark's (0.31, section 4.5), with the
name of a shell, or with none and a `$ ` prompt in them. What a tag or a fence opens and nothing closes runs to the end
of the text; it may still be being written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from security.shell.calls import in_objects
from security.shell.names import names

MAX_COMMANDS = 64
"""Commands that are judged in one text; what lies beyond is not read."""
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\n`]*)$", re.MULTILINE)
_TAG = re.compile(
    r"<(?:[a-z]+:)?(?:(?:parameter|arg|argument|param)[ =]\s*(?:name\s*=\s*)?"
    r"[\"']?(?:command|cmd|script|code|input|bash)[\"']?"
    r"|(?:bash|shell|sh|zsh|command|cmd|terminal|console|run|exec|execute|powershell)"
    r"(?:[_-](?:bash|shell|command|cmd|code))?"
    r"|function=[a-z_]*(?:bash|shell|exec|command|terminal)[a-z_]*)\s*>",
    re.IGNORECASE,
)
_ACTION = re.compile(
    r"^[ \t]*Action[ \t]*:[ \t]*[\"'`]?[\w. -]*(?:bash|shell|terminal|command|exec|console)[\w. -]*[\"'`]?[ \t]*\n+"
    r"[ \t]*Action Input[ \t]*:[ \t]*(.+)$",
    re.MULTILINE | re.IGNORECASE,
)
_SHELLS = names("sh bash zsh ksh fish shell dash csh tcsh powershell ps1 pwsh cmd bat batch dos")
_CONSOLES = names("console terminal shell-session shellsession sh-session bash-session zsh-session text plaintext")
_CALLS = names("tool tool_call tool_calls tool_code tool_use function_call execute exec run action bash_exec")
_PROMPT = re.compile(r"^[ \t]*(?:\([\w.-]+\)[ \t]*)?(?:[\w.-]+@[\w.-]+[^\n$#]{0,80})?[$#][ \t]+(.*)$")


class Written(NamedTuple):
    """A command in a text; `complete` is false where nothing says that it is over."""

    command: str
    complete: bool = True


def tool_calls(text: str) -> Iterator[Written]:
    """The commands that the text asks a tool to run."""
    if "{" in text:
        yield from map(Written, in_objects(text))
    if "<" in text:
        for tag in _TAG.finditer(text):
            end = text.find("</", tag.end())
            yield Written(_unescaped(text[tag.end() : end if end >= 0 else len(text)]), end >= 0)
    if "Action" in text:
        for found in _ACTION.finditer(text):
            yield Written(found[1].strip().strip("`\"'"), found.end() < len(text))
    for label, block in _fences(text):
        if label in _CALLS:
            yield block


def blocks(text: str) -> Iterator[Written]:
    """The commands that the text shows in fenced blocks."""
    for label, block in _fences(text):
        if label in _SHELLS:
            yield block
        elif not label or label in _CONSOLES:
            prompted = [found[1] for line in block.command.splitlines() if (found := _PROMPT.match(line))]
            if prompted:
                yield Written("\n".join(prompted), block.complete)


def _fences(text: str) -> Iterator[tuple[str, Written]]:
    """The label and the content of every fenced block."""
    mark, label, start = "", "", 0
    for found in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        fence, info = found[1], found[2].strip()
        if not mark:
            mark, start = fence, min(found.end() + 1, len(text))
            label = info.split()[0].strip("{}.,").lower() if info.strip("{}., ") else ""
        elif fence[0] == mark[0] and len(fence) >= len(mark) and not info:
            yield label, Written(text[start : found.start()])
            mark = ""
    if mark:
        yield label, Written(text[start:], complete=False)


def _unescaped(text: str) -> str:
    """The text between two tags, with the five entities of XML read."""
    plain = text.strip()
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        plain = plain.replace(entity, char)
    return plain
