"""find, xargs and parallel: commands that run or delete what they find or read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from security.shell import dangers
from security.shell.call import Call, program, sort_options
from security.shell.handlers import handles
from security.shell.limits import MAX_ROUNDS
from security.shell.marks import UNKNOWN
from security.shell.names import names
from security.shell.places import Place, place
from security.shell.removal import remove
from security.shell.walker import Walker

_TESTS = names(
    "-name -iname -path -ipath -wholename -iwholename -regex -iregex -lname -ilname -mtime -mmin -atime -amin -ctime"
    " -cmin -size -empty -user -group -uid -gid -nouser -nogroup -newer -anewer -cnewer -perm -inum -links -samefile"
    " -used -context -executable -readable -writable -fstype -newermt -false"
)
_OWN = frozenset({Place.TEMP, Place.CACHE, Place.INSIDE, Place.HERE})
_DELETERS = frozenset({"rm", "unlink", "shred", "srm"})
_RUNS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_XARGS = names("-n -L -P -I -d -E -s -a --max-args --max-lines --max-procs --delimiter --eof --max-chars --arg-file")


@handles("find", "gfind", "bfs")
def _find(walker: Walker, call: Call) -> str:
    starts, rest = _starts(call.words)
    narrow = any(word in _TESTS or word.startswith("-newer") for word in rest) or _picks(rest)
    folder = walker.scope.folder
    kinds = [place(start, folder) for start in starts]
    if "-delete" in rest or (
        not narrow and any(program(command[0]) in _DELETERS and "{}" in command for command in _commands(rest))
    ):
        _judge_deletion(walker, starts, narrow=narrow)
    for command in _commands(rest):
        for start, kind in zip(starts, kinds, strict=True):
            found = _found(start, kind, narrow=narrow)
            walker.execute([word.replace("{}", found) for word in command])
    for place_, word in enumerate(rest[:-1]):
        if word in {"-fprint", "-fprintf", "-fls", "-fprint0"}:
            walker.note(">", rest[place_ + 1])
    return "\n".join(_found(start, kind, narrow=narrow) for start, kind in zip(starts, kinds, strict=True)) + "\n"


def _picks(rest: list[str]) -> bool:
    """Whether links alone are meant, or empty folders, or what passed the test of a command."""
    if "-delete" in rest and not _RUNS.isdisjoint(rest[: rest.index("-delete")]):
        return True
    kinds = {after for word, after in pairwise(rest) if word == "-type"}
    return bool(kinds) and kinds <= ({"l", "d"} if "-delete" in rest else {"l"})


def _starts(words: list[str]) -> tuple[list[str], list[str]]:
    begin = 0
    while begin < len(words) and words[begin] in {"-H", "-L", "-P", "-E", "-X", "-d", "-s", "-x"}:
        begin += 1
    end = begin
    while end < len(words) and words[end][:1] not in {"-", "(", "!"}:
        end += 1
    return (words[begin:end] or ["."])[:MAX_ROUNDS], words[end:]


def _found(start: str, kind: Place, *, narrow: bool) -> str:
    """What stands for the files found: all of a folder if nothing narrows the search, else one of them."""
    if not narrow:
        return start.rstrip("/") + "/*"
    return f"{start}/{{}}" if kind in _OWN else UNKNOWN


def _judge_deletion(walker: Walker, starts: list[str], *, narrow: bool) -> None:
    for start in starts:
        kind = place(start, walker.scope.folder)
        if not narrow and kind is Place.HERE:
            walker.report(dangers.DELETE_FOUND, "find")
        elif not narrow:
            remove(walker, "find", start, tree=True)
        elif kind not in _OWN:
            walker.report(dangers.DELETE_UNKNOWN, "find")


def _commands(rest: list[str]) -> Iterator[list[str]]:
    place_ = 0
    while place_ < len(rest):
        if rest[place_] in _RUNS:
            end = place_ + 1
            while end < len(rest) and rest[end] != ";" and rest[end - 1 : end + 1] != ["{}", "+"]:
                end += 1
            if end > place_ + 1:
                yield rest[place_ + 1 : end]
            place_ = end
        place_ += 1


@handles("xargs", "gxargs")
def _xargs(walker: Walker, call: Call) -> str:
    options = sort_options([_spelled(word) for word in call.words], _XARGS, leading=True)
    token = (
        options.values.get("-I")
        or options.values.get("--replace")
        or ("{}" if options.any("-i", "-I", "--replace") else "")
    )
    items = _items(walker.read(options.values["-a"]) if "-a" in options.values else call.stdin)
    return _each(walker, options.operands or ["echo"], token, items)


def _spelled(word: str) -> str:
    """GNU's `-i{}` is its `-I {}`."""
    return "-I" + word[2:] if word.startswith("-i") and word[2:] else word


def _items(stdin: str | None) -> list[str]:
    return (stdin if stdin is not None else UNKNOWN).replace("\0", "\n").split()[: MAX_ROUNDS * 4] or [UNKNOWN]


def _each(walker: Walker, command: list[str], token: str, items: list[str]) -> str:
    if not token or not any(token in word for word in command):
        return walker.execute([*command, *items])
    outputs = [walker.execute([word.replace(token, item) for word in command]) for item in walker.rounds(items)]
    return "".join(outputs)


@handles("parallel", "sem", "rush")
def _parallel(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-j", "-P", "-n", "-N", "-a", "-I", "-S", "--jobs", "--colsep"}), leading=True
    )
    words, items = options.operands, _items(call.stdin)
    for mark in (":::", "::::", ":::+"):
        if mark in words:
            place_ = words.index(mark)
            words, items = words[:place_], words[place_ + 1 :] if mark == ":::" else [UNKNOWN]
    if not words:
        return "".join(
            walker.code(item, call.name) for item in (call.stdin or "\n".join(items)).splitlines()[:MAX_ROUNDS]
        )
    text = " ".join(words)
    for item in walker.rounds(items):
        # A job is a line of shell, made of the words with their input filled in.
        source = text.replace("{}", item) if "{}" in text else f"{text} {item}"
        walker.script(source)
        walker.execute([word.replace("{}", item) for word in words])
    return UNKNOWN


@handles("ls")
def _ls(walker: Walker, call: Call) -> str:
    return "\n".join(sort_options(call.words, frozenset({"-I", "-w", "-T"})).operands or ["*"]) + "\n"
