"""Options and files by which ordinary programs run a command: tar's actions, Git's pagers, sed's `e`, a Makefile."""

from __future__ import annotations

import re

from security.shell import dangers
from security.shell.call import Call
from security.shell.handlers import handles
from security.shell.marks import UNKNOWN, blurred
from security.shell.names import names
from security.shell.walker import Walker

_KEYS = names(
    "exec checkpoint-action to-command use-compress-program rsh pager editor proxycommand localcommand"
    " knownhostscommand"
    " core.pager core.editor core.sshcommand core.fsmonitor core.hookspath sequence.editor diff.external"
    " credential.helper gpg.program system eval execute"
)
_SED_RUNS = re.compile(r"(?:^|[;{\n])[ \t]*(?:[0-9$,!~+]|/[^/\n]*/)*[ \t]*e[ \t]+([^\n]+)")
_SED_FLAG = re.compile(r"[/|,#@:!][gpiImM0-9]*e[gpiImM0-9]*[ \t]*(?:[;}\n]|$)")


def judge_carried(walker: Walker, call: Call) -> None:
    """Run what `key=command` words carry, also where one key is inside another's value."""
    for word in call.words:
        if "=" in word:
            key, _, value = word.partition("=")
            if key.lstrip("-").lower() in _KEYS or key.startswith("alias."):
                _run(walker, value.removeprefix("exec="))
        elif word[:1] == "!" and call.name == "git":
            _run(walker, word)


def _run(walker: Walker, command: str) -> None:
    walker.script(command.lstrip("!"))


@handles("sed", "gsed")
def _sed(walker: Walker, call: Call) -> str:
    in_place = any(word.startswith(("-i", "--in-place")) for word in call.words)
    for word in call.words:
        for found in _SED_RUNS.finditer(word):
            walker.script(found[1])
        if word[:1] not in {"-", "/"} and "s" in word and _SED_FLAG.search(word):
            walker.report(dangers.SCRIPT_UNKNOWN, call.name)
        if in_place and word[:1] in {"/", "~"}:
            walker.note(">>", word)
    return blurred(call.stdin or UNKNOWN)


@handles("make", "gmake")
def _make(walker: Walker, call: Call) -> str | None:
    for word in call.words:
        source = call.stdin if word in {"-", "-f-"} else walker.read(word) if walker.knows(word) else None
        for line in (source or "").splitlines():
            recipe = line[1:] if line[:1] == "\t" else line.partition(";")[2]
            walker.script(recipe.lstrip("@-+ "))
    return None
