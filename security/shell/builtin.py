"""Builtins of the shell that change what later words mean."""

from __future__ import annotations

from security.shell import dangers
from security.shell.call import Call, sort_options
from security.shell.handlers import handles, noted
from security.shell.marks import UNKNOWN, open_ended
from security.shell.places import resolved
from security.shell.walker import Walker

_HISTORY = frozenset({"HISTFILE", "HISTSIZE", "HISTFILESIZE"})
_RUN_LATER = frozenset({"PROMPT_COMMAND", "BASH_ENV", "ENV"})


@handles("eval")
def _eval(walker: Walker, call: Call) -> str:
    return walker.code(" ".join(call.words), "eval", call.stdin)


@handles("source", ".")
def _source(walker: Walker, call: Call) -> str | None:
    path = next((word for word in call.words if word != "--"), "")
    if path in {"/dev/stdin", "-"}:
        return walker.code(call.stdin or UNKNOWN, "source")
    if not walker.knows(path):
        return None
    return walker.code(walker.read(path), "source")


@handles("trap")
def _trap(walker: Walker, call: Call) -> str:
    words = [word for word in call.words if word != "--"]
    if len(words) > 1 and words[0] not in {"-l", "-p", "-", ""}:
        walker.code(words[0], "trap")
    return ""


@handles("alias")
def _alias(walker: Walker, call: Call) -> str:
    for word in call.words:
        name, given, text = word.partition("=")
        if given:
            walker.scope.aliases[name] = text
    return ""


@handles("cd", "pushd")
def _cd(walker: Walker, call: Call) -> str:
    target = next((word for word in call.words if not word.startswith("-")), "~" if not call.words else UNKNOWN)
    scope = walker.scope
    folder = resolved(target, scope.folder)
    # Where the `cd` may fail or not happen, what follows may run in the wider folder: never narrow it down then.
    if scope.branches == 0 or folder[:1] in {"/", "~"}:
        scope.folder = folder
    return ""


@handles("set")
def _set(walker: Walker, call: Call) -> str:
    words = call.words
    if "--" in words:
        walker.scope.arguments = words[words.index("--") + 1 :]
    elif words and words[0][:1] not in {"-", "+"}:
        walker.scope.arguments = words
    elif words[:2] == ["+o", "history"]:
        walker.report(dangers.WIPE_HISTORY, "set")
    return ""


@handles("shift")
def _shift(walker: Walker, call: Call) -> str:
    count = call.words[0] if call.words else "1"
    arguments = walker.scope.arguments
    if arguments is not None:
        walker.scope.arguments = arguments[int(count) :] if count.isdecimal() else None
    return ""


@handles("read")
def _read(walker: Walker, call: Call) -> str:
    names = sort_options(call.words, frozenset({"-p", "-d", "-n", "-N", "-t", "-u", "-i", "-a"})).operands
    lines = (call.stdin or UNKNOWN).strip("\n").split("\n")
    words = lines[0].split() if len(lines) == 1 else []
    for place, name in enumerate(names):
        last = place == len(names) - 1
        value = " ".join(words[place:]) if last else "".join(words[place : place + 1])
        walker.scope.set(name, value if words else UNKNOWN)
    return ""


@handles("mapfile", "readarray")
def _mapfile(walker: Walker, call: Call) -> str:
    names = sort_options(call.words, frozenset({"-d", "-n", "-O", "-s", "-u", "-C", "-c"})).operands
    walker.scope.set(names[-1] if names else "MAPFILE", UNKNOWN)
    return ""


@handles("declare", "export", "typeset", "local", "readonly")
def _declare(walker: Walker, call: Call) -> str:
    for word in call.words:
        name, given, value = word.partition("=")
        if given and not word.startswith("-"):
            walker.scope.set(name, value)
            _assigned(walker, Call(noted("="), [name, value]))
    return ""


@handles("unset")
def _unset(walker: Walker, call: Call) -> str:
    for name in call.words:
        walker.scope.variables.pop(name, None)
        if "-f" in call.words:
            walker.scope.functions.pop(name, None)
        if name in _HISTORY:
            walker.report(dangers.WIPE_HISTORY, "unset")
    return ""


@handles("hash")
def _hash(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, frozenset({"-p"}))
    for name in options.operands if "-p" in options.values else ():
        walker.copied(options.values["-p"], name)
    return ""


@handles(noted("="))
def _assigned(walker: Walker, call: Call) -> str:
    """A variable that is given a value."""
    name, value = call.words
    if name in _HISTORY and value in {"", "0", "/dev/null"}:
        walker.report(dangers.WIPE_HISTORY, "HISTFILE")
    elif name in _RUN_LATER and value and not open_ended(value):
        walker.script(value)
    return ""
