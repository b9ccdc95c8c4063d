"""Interpreters: shells that read a script from their words, a file or their input, and jobs for later."""

from __future__ import annotations

from security.shell.call import Call, sort_options
from security.shell.handlers import handles
from security.shell.marks import SESSION, open_ended
from security.shell.oneliners import judge_code
from security.shell.walker import Walker

_SHELLS = ("sh", "bash", "zsh", "dash", "ksh", "mksh", "ash", "fish", "csh", "tcsh", "rbash", "pdksh", "yash", "elvish")
_TAKING = frozenset({"--rcfile", "--init-file"})
_LANGUAGES: dict[str, tuple[str, str]] = {
    # name: options whose value is code; further options that take a value
    "python": ("-c", "-W -X -m"),
    "pypy": ("-c", "-W -X -m"),
    "perl": ("-e -E", "-I -M -m -F"),
    "ruby": ("-e", "-I -r -E"),
    "node": ("-e --eval -p --print -pe", "-r --require --import"),
    "nodejs": ("-e --eval -p --print -pe", "-r --require --import"),
    "bun": ("-e --eval -p", ""),
    "deno": ("", ""),
    "php": ("-r -B -R -E", "-d -f -c -F -S -t"),
    "lua": ("-e", "-l"),
    "osascript": ("-e", "-l"),
    "tclsh": ("", ""),
    "expect": ("-c", ""),
    "rscript": ("-e", ""),
    "r": ("-e", ""),
    "julia": ("-e -E", ""),
    "groovy": ("-e", ""),
    "jshell": ("", ""),
    "gdb": ("-ex -eval-command", "-p -x"),
    "vim": ("-c --cmd", ""),
    "vi": ("-c --cmd", ""),
    "ex": ("-c --cmd", ""),
    "emacs": ("--eval", "-l"),
    "awk": ("", "-F -f -v"),
    "gawk": ("", "-F -f -v"),
    "mawk": ("", "-F -f -v"),
    "nawk": ("", "-F -f -v"),
}
_READ_DATA = frozenset({"awk", "gawk", "mawk", "nawk", "vim", "vi", "ex", "emacs", "gdb"})
"""What comes in by the pipe is data to these, no program."""
_AWKS = frozenset({"awk", "gawk", "mawk", "nawk"})


@handles(*_SHELLS)
def _shell(walker: Walker, call: Call) -> str | None:
    flags, operands = _sorted(call.words)
    with walker.subshell():
        scope = walker.scope
        if "c" in flags and operands:
            scope.variables["0"], scope.arguments = "".join(operands[1:2]) or call.name, operands[2:]
            return walker.code(operands[0], call.name, call.stdin)
        scope.arguments = operands[1:]
        if operands and "s" not in flags:
            return _file(walker, call, operands[0])
        scope.arguments = operands
        return _piped(walker, call, asks="i" in flags)


def _sorted(words: list[str]) -> tuple[str, list[str]]:
    """The letters of a shell's options, and its operands; with `-c` the first operand is the script."""
    letters, place = "", 0
    while place < len(words) and words[place][:1] in {"-", "+"} and words[place] not in {"-", "--"}:
        word = words[place]
        letters += "" if word.startswith("--") else word[1:]
        place += 2 if word in _TAKING or (word[:2] != "--" and word[-1] in "oO") else 1
    return letters, words[place + (words[place : place + 1] in (["-"], ["--"])) :]


def _piped(walker: Walker, call: Call, *, asks: bool = False) -> str | None:
    if call.stdin is None:
        return SESSION if asks else None
    output = walker.code(call.stdin, call.name)
    return SESSION if asks or open_ended(call.stdin) else output


def _file(walker: Walker, call: Call, path: str) -> str | None:
    if path in {"-", "/dev/stdin"}:
        return _piped(walker, call)
    return walker.code(walker.read(path), call.name) if walker.knows(path) else None


@handles("at", "batch")
def _later(walker: Walker, call: Call) -> str | None:
    return walker.code(call.stdin, call.name) if call.stdin is not None else None


@handles(*_LANGUAGES)
def _language(walker: Walker, call: Call) -> str | None:
    coded, valued = (frozenset(names.split()) for names in _LANGUAGES[call.name])
    options = sort_options(call.words, coded | valued, leading=call.name not in _AWKS)
    codes = [_given(call.words, flag) for flag in coded if flag in options.flags]
    if call.name in _AWKS and "-f" not in options.flags:
        codes = options.operands[:1]
    for path in options.operands:
        walker.note("<", path)
    for code in codes:
        judge_code(walker, call.name, code)
    if not codes and "-m" not in options.flags and call.name not in _READ_DATA:
        _program(walker, call, options.operands)
    return None


def _given(words: list[str], flag: str) -> str:
    """The code behind an option, also where it is the last of a cluster, as in `perl -ne CODE`."""
    for place, word in enumerate(words[:-1]):
        if word == flag or (word[:1] == "-" and word[1:2] != "-" and word.endswith(flag[1:])):
            return words[place + 1]
    return next((word[len(flag) :].lstrip("=") for word in words if word.startswith(flag)), "")


def _program(walker: Walker, call: Call, operands: list[str]) -> None:
    path = operands[0] if operands else "-"
    text = call.stdin if path in {"-", "/dev/stdin"} else walker.read(path) if walker.knows(path) else None
    if text is not None:
        judge_code(walker, call.name, text)


for _version in ("2", "2.7", "3", *(f"3.{minor}" for minor in range(6, 16))):
    handles(f"python{_version}", f"pypy{_version}")(
        lambda walker, call: _language(
            walker, Call(call.name.rstrip("0123456789."), call.words, call.stdin, call.typed)
        )
    )
