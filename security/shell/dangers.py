"""What the analysis can find, where a table row is not enough: names, risks and words for people."""

from __future__ import annotations

from dataclasses import dataclass

from security.shell.marks import HIDDEN, REMOTE, UNKNOWN
from switchtower.models import Action, RiskLevel


@dataclass(frozen=True, slots=True)
class Danger:
    """One kind of harm; `explanation` goes on after the name of the command that does it."""

    name: str
    risk: RiskLevel
    action: Action
    explanation: str


def _stops(name: str, explanation: str) -> Danger:
    return Danger(name, RiskLevel.CRITICAL, Action.BLOCK, explanation)


def _blocks(name: str, explanation: str) -> Danger:
    return Danger(name, RiskLevel.HIGH, Action.BLOCK, explanation)


def _warns(name: str, explanation: str) -> Danger:
    return Danger(name, RiskLevel.HIGH, Action.ASK, explanation)


def _asks(name: str, explanation: str) -> Danger:
    return Danger(name, RiskLevel.MEDIUM, Action.ASK, explanation)


TOO_COMPLEX = _asks("too_complex", "is longer or deeper than the analysis reads; send it in small steps.")
UNPARSED = _asks("unparsed", "is not shell syntax that can be read; correct it.")
UNKNOWN_COMMAND = _asks("unknown_command", "has a name that is only known when it runs; write the name out.")
UNKNOWN_CODE = _asks("unknown_code", "runs code that is only known when it runs; write the code out.")
HIDDEN_CODE = _blocks("hidden_code", "runs code that was encoded; send it in the open.")
REMOTE_CODE = _blocks("remote_code", "runs code from the network unseen; download it, read it, then run it.")
FORK_BOMB = _stops("fork_bomb", "starts itself without end, which takes the machine down; limit the processes.")

DELETE_SYSTEM = _stops(
    "delete_system", "deletes a whole system, home or disk; name the one path that you want deleted."
)
DELETE_HERE = _stops("delete_here", "deletes all that is in the current folder; name what you want deleted.")
DELETE_FOUND = _blocks("delete_found", "deletes all that it finds in the current folder; say which files you mean.")
DELETE_OUTSIDE = _blocks("delete_outside", "deletes outside the project; work inside the project's folder.")
DELETE_HISTORY = _blocks("delete_history", "deletes a repository's whole history; clone it elsewhere first.")
DELETE_UNKNOWN = _asks("delete_unknown", "deletes what is only known when it runs; write the path out.")
DELETE_ALL_FILES = _asks("delete_files", "deletes many files at once; list them first, then name them.")
DELETE_CACHE = _asks("delete_cache", "deletes outside the project what looks like a cache; confirm the path.")
DELETE_SYSTEM_FILE = _asks("delete_system_file", "deletes a file of the system; confirm the path.")

DELETE_NEEDED = _warns("delete_needed", "deletes a file that the system needs to start or work; confirm the path.")

WIPE_DEVICE = _stops("wipe_device", "writes over a disk; write to a file instead.")
HALT_KERNEL = _stops("halt_kernel", "stops or restarts the machine at once; ask an operator.")
WRITE_ACCOUNTS = _blocks("write_accounts", "changes who may log in or become root; use useradd, usermod or visudo.")
WRITE_SYSTEM = _asks("write_system", "overwrites a file of the system; confirm the path.")
WRITE_PERSISTENT = _asks("write_persistent", "makes something run again later or at every login; confirm it.")
WRITE_REMOTE = _warns("write_remote", "copies over the system's folders of another machine; confirm the path.")
WRITE_LOGIN_KEY = _warns("write_login_key", "lets a key log in here; an operator must confirm whose key it is.")
WIPE_LOG = _warns("wipe_log", "erases logs of the system; rotate them with logrotate instead.")
WIPE_HISTORY = _asks("wipe_history", "hides what was done here; leave the shell's history in place.")
READ_SECRET = _warns("read_secret", "reads stored credentials; ask for the one value through the secrets settings.")
NETWORK_DEVICE = _blocks("network_device", "connects a shell to the network; use a reviewed remote access instead.")
REMOTE_SHELL = _blocks("remote_shell", "gives a remote machine a shell here; use a reviewed remote access instead.")

OPEN_TREE = _stops("open_tree", "changes the permissions of a whole system or home; name the one folder that needs it.")
OPEN_SYSTEM = _warns("open_system", "changes permissions in the system's folders; name the one file that needs it.")
OPEN_WORLD = _asks("open_world", "lets everybody write there; give the rights to one user or group.")
SETUID = _blocks("setuid", "makes a way to become root; give the one right that is needed through sudo.")
MOVE_SYSTEM = _stops("move_system", "moves a whole system or home away; name the one path that you want moved.")
MOVE_AWAY = _blocks("move_away", "throws away what it moves; delete it by name if that is meant.")
TRUNCATE = _asks("truncate", "empties a file; confirm which one.")
SYNC_DELETES = _blocks(
    "sync_deletes", "deletes at the target what the source does not have; try it with --dry-run first."
)

SERVER_OFF = _blocks("server_off", "takes servers or sessions away from a load balancer; drain them, and confirm it.")
HTTP_DELETE = _blocks("http_delete", "deletes over an API; confirm the address, and do it by hand.")
SQL_DROP = _blocks("sql_drop", "deletes tables, databases or all rows; make a backup and name the rows.")
STORE_WIPE = _blocks("store_wipe", "deletes whole collections or all keys of a store; make a backup and name the keys.")
KILL_ALL = _stops("kill_all", "stops every process of the machine; stop the one process by its number.")
SCRIPT_UNKNOWN = _asks("script_unknown", "runs or deletes what is only known when it runs; write it out.")
SCRIPT_HIDES = _warns("script_hides", "holds a destructive command and the means to run it unseen; write it out.")


def code_from(source: str) -> Danger | None:
    """What is wrong with running a text of which a part is not known, if that part can be anything."""
    if REMOTE in source:
        return REMOTE_CODE
    return HIDDEN_CODE if HIDDEN in source else UNKNOWN_CODE if UNKNOWN in source else None
