"""Commands that write over files and disks, change their permissions, or read what is secret."""

from __future__ import annotations

import re

from security.shell import dangers
from security.shell.call import Call, sort_options
from security.shell.dangers import Danger
from security.shell.handlers import handles, noted
from security.shell.marks import UNKNOWN, blurred
from security.shell.names import names
from security.shell.places import (
    is_account,
    is_device,
    is_history,
    is_login_key,
    is_main_log,
    is_persistent,
    is_secret,
    is_system_file,
    resolved,
)
from security.shell.walker import Walker

_NETWORK = re.compile(r"/dev/(?:tcp|udp)/")


@handles(noted(">"), noted(">>"))
def _redirect(walker: Walker, call: Call) -> str:
    """Output that goes to a file."""
    target, number = call.words[0], "".join(call.words[1:])
    path = resolved(target, walker.scope.folder)
    if danger := _written(path, appends=call.name == noted(">>") or number == "2"):
        walker.report(danger, "redirection")
    return ""


def _written(path: str, *, appends: bool) -> Danger | None:
    if danger := _device(path):
        return danger
    for test, danger in _TARGETS:
        if test(path):
            return danger
    if appends:
        return None
    return dangers.WIPE_LOG if is_main_log(path) else dangers.WRITE_SYSTEM if is_system_file(path) else None


_TARGETS = (
    (is_account, dangers.WRITE_ACCOUNTS),
    (is_login_key, dangers.WRITE_LOGIN_KEY),
    (is_persistent, dangers.WRITE_PERSISTENT),
    (is_history, dangers.WIPE_HISTORY),
    (lambda path: path == "/proc/sysrq-trigger", dangers.HALT_KERNEL),
)


def _device(path: str) -> Danger | None:
    if _NETWORK.match(path):
        return dangers.NETWORK_DEVICE
    return dangers.WIPE_DEVICE if is_device(path) else None


@handles(noted("<"))
def _input(walker: Walker, call: Call) -> str:
    """Input that comes from a file."""
    path = resolved(call.words[0], walker.scope.folder)
    if _NETWORK.match(path):
        walker.report(dangers.NETWORK_DEVICE, "redirection")
    elif is_secret(path):
        walker.report(dangers.READ_SECRET, "redirection")
    return ""


@handles("cp", "install", "ln", "scp")
def _copy(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-t", "--target-directory", "-m", "-o", "-g", "-S", "-P", "-i", "-F", "-l"})
    )
    operands = options.operands
    target = options.values.get("-t") or options.values.get("--target-directory") or (operands[-1] if operands else "")
    host, _, remote = target.partition(":") if call.name == "scp" else ("", "", target)
    walker.note(">", remote or target)
    if host and (remote == "/" or is_system_file(remote.rstrip("/") + "/x") or remote.startswith("/etc/")):
        walker.report(dangers.WRITE_REMOTE, call.name)
    for path in operands[:-1]:
        if target[-1:] == "/" or target[:1] in {"/", "~"}:
            walker.note(">", f"{target.rstrip('/')}/{path.rpartition('/')[2]}")
        walker.note("<", path)
        walker.copied(path, target)
    return ""


@handles("ed", "patch", "chattr")
def _edit(walker: Walker, call: Call) -> str:
    for path in call.words:
        if path[:1] in {"/", "~"}:
            walker.note(">>", path)
    return blurred(call.stdin or UNKNOWN)


@handles("dd")
def _dd(walker: Walker, call: Call) -> str:
    for word in call.words:
        key, _, path = word.partition("=")
        if key in {"of", "if"}:
            walker.note(">" if key == "of" else "<", path)
    return blurred(call.stdin or UNKNOWN)


_MKFS = names(
    "mkfs mke2fs mkswap newfs mkdosfs mkntfs mkfs.bfs mkfs.btrfs mkfs.cramfs mkfs.exfat mkfs.ext2 mkfs.ext3 mkfs.ext4"
    " mkfs.f2fs mkfs.fat mkfs.jfs mkfs.minix mkfs.msdos mkfs.ntfs mkfs.reiserfs mkfs.vfat mkfs.xfs"
)
_PARTITIONERS = names("blkdiscard sgdisk sfdisk cfdisk fdisk gdisk parted pvcreate")
_SHOWS = names("-l --list print -p --print -d --dump -n --no-act -s --show --help --version -V -J --json -i --info")


@handles(*_MKFS)
def _make_file_system(walker: Walker, call: Call) -> str:
    if any(map(is_device, call.words)) and not {"--help", "-V", "-n"} & set(call.words):
        walker.report(dangers.WIPE_DEVICE, call.name)
    return ""


@handles(*_PARTITIONERS)
def _partition(walker: Walker, call: Call) -> str:
    if any(map(is_device, call.words)) and _SHOWS.isdisjoint(call.words):
        walker.report(dangers.WIPE_DEVICE, call.name)
    return ""


_READERS = names(
    "cat less more head tail cp scp rsync tar zip base64 base32 xxd strings grep egrep fgrep rg awk gawk sed curl wget"
    " nc dd vi vim nano od hexdump sort tac nl cut tee bat view emacs gpg openssl python perl ruby jq yq diff cmp paste"
)


def judge_reading(walker: Walker, call: Call) -> None:
    """Report a command that reads a file of credentials."""
    if call.name in _READERS:
        for word in call.words:
            if "/" in word and is_secret(word.rpartition("@")[2].rpartition("=")[2]):
                walker.report(dangers.READ_SECRET, call.name)
