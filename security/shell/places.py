"""What kind of place a path of a command means (Filesystem Hierarchy Standard 3.0, with macOS's folders)."""

from __future__ import annotations

import posixpath
import re
from enum import Enum, auto

from security.shell.marks import emptied, open_ended
from security.shell.names import names

_SYSTEM = names(
    "bin boot dev etc lib lib32 lib64 libx32 opt proc root run sbin srv sys usr var snap nix"
    " system library applications private volumes windows"
)
_HOMES = frozenset({"home", "users"})
_TEMP = (
    *("/tmp/", "/var/tmp/", "/dev/shm/", "/private/tmp/", "/private/var/tmp/", "/var/folders/"),  # noqa: S108
    *("/var/cache/", "/var/lib/apt/lists/"),  # package managers fetch these again
)
_MADE = names(
    "node_modules __pycache__ build dist target out .venv venv .cache cache .pytest_cache .mypy_cache .ruff_cache"
    " .tox .nox coverage htmlcov .next .nuxt .turbo .gradle .terraform tmp temp _build cmake-build-debug"
)
"""Folder names that tools make and make again."""
_DEVICE = re.compile(
    r"/dev/(?:r?disk\d|sd[a-z]|hd[a-z]|vd[a-z]|xvd[a-z]|nvme\d|mmcblk\d|md\d|dm-\d|loop\d|sr\d|mapper/|disk/|mtd|nbd\d|"
    r"zvol/|mem$|kmem$|port$)",
)
_GLOB = frozenset("*?[")


class Place(Enum):
    """Where a path leads."""

    ROOT = auto()
    """The whole system, one of its own folders, or a whole home."""
    HERE = auto()
    """All of the current folder, or what is above it."""
    SYSTEM = auto()
    HOME = auto()
    ABSOLUTE = auto()
    ABOVE = auto()
    REPOSITORY = auto()
    CACHE = auto()
    TEMP = auto()
    INSIDE = auto()
    """Below the current folder."""
    UNKNOWN = auto()


def resolved(path: str, folder: str) -> str:
    """A path as seen from a folder, without `.`, `..` and doubled slashes as far as they can be told."""
    if path[:1] not in {"/", "~"} and folder != "." and not open_ended(folder):
        path = f"{folder}/{path}"
    plain = posixpath.normpath(path) if path else ""
    return "/" + plain.lstrip("/") if plain.startswith("//") else plain


def place(path: str, folder: str = ".") -> Place:
    """The kind of place; where unknown parts may turn out empty, the wider of both readings counts."""
    found = _place(resolved(path, folder))
    if not open_ended(path):
        return found
    wider = _place(resolved(emptied(path), folder)) if emptied(path) else Place.UNKNOWN
    # A place that is only perhaps the whole system is not called so: it is one of the system's.
    return Place.SYSTEM if wider is Place.ROOT and found not in {Place.ROOT, Place.UNKNOWN} else found


def _place(path: str) -> Place:
    if path[:1] == "~":
        return _in_home(path.split("/")[1:])
    if path[:1] == "/":
        return _absolute(path)
    if not path.strip("./*?[]!^"):
        return Place.HERE
    if path.rpartition("/")[2] == ".git":
        return Place.REPOSITORY
    if open_ended(path[0]):
        return Place.UNKNOWN
    return Place.ABOVE if path.startswith("../") else Place.INSIDE


def _absolute(path: str) -> Place:
    parts = path[1:].split("/")
    top = parts[0].lower()
    if not top or _is_glob(top):
        return Place.ROOT
    if (path + "/").startswith(_TEMP):
        return Place.TEMP
    if top in _HOMES or top == "root":
        return _in_home(parts[2:] if top in _HOMES else parts[1:])
    if top in _SYSTEM:
        return Place.ROOT if parts[1:] in ([], ["*"], [".*"]) else Place.SYSTEM
    return Place.CACHE if parts[1:] and parts[-1] in _MADE else Place.ABSOLUTE


def _in_home(parts: list[str]) -> Place:
    if not parts or parts in (["*"], [".*"], [""]):
        return Place.ROOT
    if parts[-1] == ".git":
        return Place.REPOSITORY
    return Place.CACHE if parts[-1] in _MADE or parts[0] in {".cache", ".Trash"} else Place.HOME


def _is_glob(part: str) -> bool:
    return not _GLOB.isdisjoint(part)


def is_device(path: str) -> bool:
    """Whether a path is a disk, a partition or memory, unknown parts taken as empty."""
    return "/dev/" in path and _DEVICE.match(emptied(path)) is not None


_ACCOUNTS = re.compile(r"/etc/(?:passwd|shadow|gshadow|group|sudoers|sudoers\.d/.*|pam\.d/.*|pam\.conf|doas\.conf)-?$")
_PERSISTENT = re.compile(
    r"/etc/(?:cron.*|anacrontab|systemd/.*|rc\.local|init\.d/.*|inittab|ld\.so\.preload|profile.*|bash\.bashrc|"
    r"environment|xdg/autostart/.*|update-motd\.d/.*|udev/rules\.d/.*)$"
    r"|/(?:var/spool/cron|usr/lib/systemd/system|lib/systemd/system|Library/Launch(?:Agents|Daemons))/.*"
    r"|.*/\.(?:bashrc|bash_profile|bash_login|bash_logout|profile|zshrc|zprofile|zshenv|kshrc|config/fish/config\.fish|"
    r"config/systemd/user/.*|config/autostart/.*)$"
)
_LOGIN_KEY = re.compile(r".*\.ssh/(?:authorized_keys2?|rc|config)$")
_HISTORY = re.compile(r".*\.(?:ba|z|a|k)?sh_history$|.*\.(?:python|mysql|psql|node_repl)_history$|.*fish_history$")
_LOG = re.compile(r"/var/(?:log|adm)/.*|/(?:var/)?run/(?:utmp|wtmp)$")
_MAIN_LOG = re.compile(
    r"/var/(?:log|adm)/(?:auth|secure|syslog|messages|audit|wtmp|btmp|utmp|lastlog|kern|sudo|faillog)"
)
_SECRET = re.compile(
    r"/etc/(?:g?shadow|sudoers)-?$|/proc/(?:self|\d+)/environ$"
    r"|.*/(?:\.ssh/(?:id_[a-z0-9_]+|identity|\*)|\.aws/credentials|\.netrc|\.pgpass|\.kube/config|\.docker/config\.json|"
    r"\.gnupg(?:/.*)?|\.git-credentials|\.vault-token|\.config/gh/hosts\.yml|\.config/gcloud/.*credentials.*)$"
)


_SYSTEM_FILE = re.compile(
    r"/(?:usr/(?:local/)?)?s?bin/[^/]+$|/(?:usr/)?lib(?:64)?/|/boot/"
    r"|/etc/(?:hosts|fstab|crypttab|resolv\.conf|nsswitch\.conf|ssh/|ssl/|pki/|selinux/|security/|login\.defs|grub)",
)


def is_system_file(path: str) -> bool:
    """Whether the system or its users need a file to start, log in or run programs."""
    return _SYSTEM_FILE.match(path) is not None


def is_account(path: str) -> bool:
    """Whether a file says who may log in or become root."""
    return _ACCOUNTS.match(path) is not None


def is_persistent(path: str) -> bool:
    """Whether what stands in a file runs again at a time, a start or a login."""
    return _PERSISTENT.match(path) is not None


def is_login_key(path: str) -> bool:
    """Whether a file lets keys log in."""
    return _LOGIN_KEY.match(path) is not None


def is_history(path: str) -> bool:
    """Whether a file remembers what was typed."""
    return _HISTORY.match(path) is not None


def is_log(path: str) -> bool:
    """Whether a file is one of the system's logs."""
    return _LOG.match(path) is not None


def is_main_log(path: str) -> bool:
    """Whether a file is a log that the system itself, its logins or its audit write."""
    return _MAIN_LOG.match(path) is not None


def is_secret(path: str) -> bool:
    """Whether a file holds credentials."""
    return _SECRET.match(path) is not None
