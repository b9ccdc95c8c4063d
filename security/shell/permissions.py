"""Commands that change who may do what with files: chmod, chown and their kin."""

from __future__ import annotations

import re

from security.shell import dangers
from security.shell.call import Call, Options, sort_options
from security.shell.dangers import Danger
from security.shell.handlers import handles
from security.shell.places import Place, is_account, is_login_key, is_system_file, place, resolved
from security.shell.walker import Walker

_SETUID = re.compile(r"(?:[ugoa]*[+=][rwxXt]*s[rwxXst]*|0?[4-7][0-7]{3})")
_OPEN = re.compile(r"0?[0-7]?[0-7][0-7][2367]|(?:a|o|ugo|go|og)?[+=][rx]*w[rwx]*")
_TOOLS = re.compile(r"(?:.*/)?(?:(?:ba|z|da|k)?sh|python[0-9.]*|perl|ruby|find|vim?|nmap|env|cp|awk|less|tar|bash.*)$")


@handles("chmod", "chown", "chgrp", "setfacl", "icacls")
def _permissions(walker: Walker, call: Call) -> str:
    options = sort_options(call.words, frozenset({"--reference", "-m", "--from"}))
    if options.any("--help", "--version"):
        return ""
    mode, paths = _mode(call, options)
    tree = options.any("-R", "--recursive") or "-R" in call.words
    if options.any("--no-preserve-root"):
        walker.report(dangers.OPEN_TREE, call.name)
    for path in paths:
        if danger := _changed(resolved(path, walker.scope.folder), mode, tree=tree):
            walker.report(danger, call.name)
    return ""


def _mode(call: Call, options: Options) -> tuple[str, list[str]]:
    # `chmod -x file` takes rights away; the letters are no options then.
    if call.name != "chmod" or "--reference" in options.flags:
        return "", options.operands[call.name in {"chown", "chgrp"} :]
    return (options.operands or [""])[0], options.operands[1:]


def _changed(path: str, mode: str, *, tree: bool) -> Danger | None:
    kind = place(path)
    if tree and kind is Place.ROOT:
        return dangers.OPEN_TREE
    if _SETUID.fullmatch(mode) and _TOOLS.match(path):
        return dangers.SETUID
    if is_account(path) or is_login_key(path):
        return dangers.WRITE_ACCOUNTS if mode and is_account(path) else None
    if _OPEN.fullmatch(mode):
        return dangers.OPEN_SYSTEM if kind in {Place.SYSTEM, Place.ROOT} else dangers.OPEN_WORLD if tree else None
    return dangers.OPEN_SYSTEM if tree and kind is Place.SYSTEM and is_system_file(path + "/x") else None
