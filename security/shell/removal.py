"""Commands that delete: rm and its kin, find, and what is as good as deleting."""

from __future__ import annotations

from security.shell import dangers
from security.shell.call import Call, Options, sort_options
from security.shell.dangers import Danger
from security.shell.handlers import handles
from security.shell.marks import open_ended
from security.shell.places import Place, is_account, is_device, is_history, is_log, is_system_file, place, resolved
from security.shell.walker import Walker

_TREES: dict[Place, Danger] = {
    Place.ROOT: dangers.DELETE_SYSTEM,
    Place.HERE: dangers.DELETE_HERE,
    Place.SYSTEM: dangers.DELETE_OUTSIDE,
    Place.HOME: dangers.DELETE_OUTSIDE,
    Place.ABSOLUTE: dangers.DELETE_OUTSIDE,
    Place.ABOVE: dangers.DELETE_OUTSIDE,
    Place.REPOSITORY: dangers.DELETE_HISTORY,
    Place.CACHE: dangers.DELETE_CACHE,
    Place.UNKNOWN: dangers.DELETE_UNKNOWN,
}
_FILES: dict[Place, Danger] = {
    Place.ROOT: dangers.DELETE_NEEDED,
    Place.SYSTEM: dangers.DELETE_SYSTEM_FILE,
    Place.HERE: dangers.DELETE_ALL_FILES,
}


_WORST = frozenset({dangers.DELETE_SYSTEM, dangers.DELETE_HERE, dangers.DELETE_OUTSIDE})


@handles("rm", "srm", "trash", "rimraf", "unlink", "shred", "del-cli")
def _rm(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-n", "-s", "--size", "--iterations"} if call.name == "shred" else ())
    )
    if options.any("--help", "--version"):
        return ""
    if options.any("--no-preserve-root"):
        walker.report(dangers.DELETE_SYSTEM, call.name)
    tree = call.name == "rimraf" or (call.name != "shred" and options.any("-r", "-R", "--recursive"))
    if tree and not options.operands:
        walker.report(dangers.DELETE_UNKNOWN, call.name)
    for path in options.operands:
        remove(walker, call.name, path, tree=tree, asks=_prompts(options))
    return ""


def _prompts(options: Options) -> bool:
    return options.any("-i", "-I", "--interactive") and not options.any("-f", "--force")


def remove(walker: Walker, command: str, path: str, *, tree: bool, asks: bool = False) -> None:
    """Judge the deletion of a path, or of a tree with everything in it; `asks` says that each file is asked about."""
    folder = walker.scope.folder
    full = resolved(path, folder)
    kind = (_TREES if tree else _FILES).get(place(path, folder))
    danger = kind if kind in _WORST else _special(full) or kind
    if tree and danger is None and folder[:1] != "/" and folder != "." and place(path) is Place.HERE:
        danger = dangers.DELETE_ALL_FILES  # after a `cd` that may have failed
    if danger is not None:
        walker.report(dangers.DELETE_ALL_FILES if asks and danger is dangers.DELETE_HERE else danger, command)


def _special(path: str) -> Danger | None:
    if is_device(path):
        return dangers.WIPE_DEVICE
    if is_account(path):
        return dangers.WRITE_ACCOUNTS
    if is_history(path):
        return dangers.WIPE_HISTORY
    if is_system_file(path):
        return dangers.DELETE_NEEDED
    return dangers.WIPE_LOG if is_log(path) else None


@handles("rmdir")
def _rmdir(walker: Walker, call: Call) -> str:
    return ""  # takes empty folders only


@handles("truncate")
def _truncate(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, frozenset({"-s", "--size", "-r", "--reference"}))
    size = options.values.get("-s", options.values.get("--size", ""))
    for path in options.operands if not size.startswith("+") else ():
        walker.note(">", path)
        if size.strip("0") == "":
            walker.report(dangers.TRUNCATE, call.name)
    return ""


@handles("mv")
def _mv(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, frozenset({"-t", "--target-directory", "-S", "--suffix"}))
    target = options.values.get("-t") or options.values.get("--target-directory")
    sources = options.operands if target else options.operands[:-1]
    target = target or (options.operands[-1] if options.operands else "")
    for path in sources:
        kind = place(path, walker.scope.folder)
        if kind is Place.ROOT:
            walker.report(dangers.MOVE_SYSTEM, call.name)
        elif target == "/dev/null" and kind in {Place.SYSTEM, Place.HOME, Place.ABSOLUTE, Place.HERE, Place.ABOVE}:
            walker.report(dangers.MOVE_AWAY, call.name)
        walker.copied(path, target)
    walker.note(">", target)
    return ""


@handles("rsync")
def _rsync(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-e", "--rsh", "-f", "--filter", "--exclude", "--include", "-T", "-B"})
    )
    if shell := options.values.get("-e", options.values.get("--rsh", "")):
        walker.execute(shell.split())
    if options.any("-n", "--dry-run"):
        return ""
    deletes = [flag for flag in options.flags if flag.startswith(("--del", "--remove-source"))]
    if deletes and not options.any("--max-delete"):
        walker.report(dangers.SYNC_DELETES, call.name)
    return ""


@handles("crontab")
def _crontab(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, frozenset({"-u"}))
    if call.stdin is not None and "-l" not in options.flags and not open_ended(call.stdin):
        for line in call.stdin.splitlines():
            walker.script(" ".join(line.split()[5:]))
    if options.operands == ["-"] or (call.stdin is not None and not options.operands and not options.flags - {"-u"}):
        walker.report(dangers.WRITE_PERSISTENT, call.name)
    return ""
