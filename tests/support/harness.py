"""A real, small Switchtower for tests: Valkey from its wheel, real worker processes, short leases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from security.lockdown import status, throwaway
from security.lockdown.controller import Controller
from security.lockdown.request import Heads, request_release, wish
from switchtower.client import Client
from switchtower.connection import connect
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.settings import Line, Lockdown, Settings, load
from tests.support.person import Person
from tests.support.wait import until
from workers.embedded import embedded
from workers.supervisor import Supervisor
from workers.system import wait_ready

ROOT = Path(__file__).resolve().parents[2]
LINE = Line(lease_s=2, grace_s=1, sweep_s=0.2, soft_shutdown_s=2, retention_s=600)
LOCKDOWN = Lockdown(alerts=10_000, disk=1, host_memory=1, argon2_memory_kib=8192)
"""Nothing that this host or another test does may raise; and a password is not worth guessing."""
ECHO = (sys.executable, str(ROOT / "ops/bench/echo_worker.py"))


@dataclass
class Harness:
    """A broker with keys and a controller that holds the line open, and the workers that a test starts on it."""

    settings: Settings
    supervisor: Supervisor
    _clients: list[Client] = field(default_factory=list)
    _brokers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def redis(self) -> Redis:
        return self.client.ledger.redis

    @property
    def client(self) -> Client:
        if not self._clients:
            self._clients.append(Client(self.settings))
        return self._clients[0]

    @property
    def ring(self) -> KeyRing:
        return KeyRing.load(self.settings.security.keys_directory)

    def signer(self, role: Role) -> Signer:
        if role is Role.OPERATOR:
            return throwaway.Throwaway.load(self.settings).signer(self.settings)
        return Signer.load(self.settings.security.keys_directory, role)

    @property
    def locked(self) -> bool:
        return status(self.redis, self.ring).locked

    def release(self, reason: str = "the drill is over") -> None:
        """Release the lockdown if there is one, as an operator would, who looks again when it was raised again.

        Each time it is somebody else: a code is taken once, and tests release more often than codes change.
        """
        while (found := status(self.redis, self.ring)).locked:
            if not found.epoch:
                continue  # the controller gives it one within a moment
            person = Person.on(self.settings, "passer-by", step_s=30)
            asked = wish(person.signer, found.epoch, person.code(), None, reason)
            verdict = request_release(self.redis, self.ring, person.signer, asked)
            assert verdict.outcome in {"released", "stale_epoch"}, verdict.text

    def start(self, *kinds: str, tokens: int = 3, pause: float = 0.0) -> None:
        """Start workers and wait until they consume; `gpu` is an echo unless `model` is asked for."""
        for kind in kinds:
            if kind == "gpu":
                self.supervisor.start("gpu", *ECHO, f"--tokens={tokens}", f"--pause={pause}")
            else:
                self.supervisor.start("gpu" if kind == "model" else kind)
        wait_ready(self.settings, self.supervisor, ["gpu" if kind == "model" else kind for kind in kinds])

    def kill(self, name: str) -> None:
        """SIGKILL a worker in the middle of whatever it does, and start it again."""
        process = self.supervisor.processes[name]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.supervisor.respawn(name)

    def durable(self) -> None:
        """Let the broker write every change to its disk before it answers, also after a restart."""
        self.redis.config_set("appendfsync", "always")
        self.redis.config_rewrite()

    def watch(self) -> None:
        """Restart workers that end by themselves, as `switchtower up` does."""
        threading.Thread(target=self.supervisor.watch, args=(0.2,), daemon=True).start()

    def crash_broker(self) -> None:
        """SIGKILL the broker and start it again on the same port and data."""
        data = self.settings.home / "valkey"
        pid = int((data / "pid").read_text())
        command = Path(f"/proc/{pid}/exe").readlink()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with (data / "valkey.log").open("ab") as log:
            again = subprocess.Popen([command, data / "valkey.conf"], cwd=data, stdout=log, stderr=log)
        self._brokers.append(again)
        (data / "pid").write_text(str(again.pid))

    def end(self) -> None:
        """Stop the workers, then the clients, then a broker that was started again."""
        self.supervisor.stop()
        for client in self._clients:
            client.close()
        for process in self._brokers:
            process.terminate()
            process.wait(10)

    def logs(self, last: int = 3000) -> str:
        """The last characters that each process wrote; for the message of a failing test."""
        folder = self.settings.home / "logs"
        return "\n".join(f"== {path.name}\n{path.read_text()[-last:]}" for path in sorted(folder.glob("*.log")))

    def said(self, words: str) -> int:
        """How often the processes have written these words."""
        return self.logs(last=0).count(words)


@contextmanager
def harness(
    home: Path, line: Line = LINE, lockdown: Lockdown = LOCKDOWN, *, controller: bool = True
) -> Iterator[Harness]:
    """A system of its own, gone without a trace at the end; without `controller` a test starts its own."""
    settings = load().model_copy(update={"line": line, "lockdown": lockdown})
    with embedded(settings, home) as found:
        throwaway.Throwaway.create(found)
        made = Harness(found, Supervisor(found, found.home / "logs", environment(line, lockdown)))
        try:
            with controlled(made.settings) if controller else nullcontext():
                yield made
        finally:
            made.end()


def environment(line: Line, lockdown: Lockdown) -> dict[str, str]:
    """The variables that give a process the same times and limits."""
    said = {f"LINE__{name}": value for name, value in line.model_dump().items()}
    said |= {f"LOCKDOWN__{name}": value for name, value in lockdown.model_dump(exclude_none=True).items()}
    said |= {"SECURITY__injection": "off"}  # two seconds of each worker's start; tests of the detector switch it on
    return {f"SWITCHTOWER_{name.upper()}": str(value) for name, value in said.items()}


@contextmanager
def controlled(settings: Settings, heads: Heads | None = None, *, locked: bool = False) -> Iterator[Controller]:
    """A controller in a thread, which costs no start of a process; it has looked, and opened unless `locked`."""
    controller = Controller(settings, heads)
    thread = threading.Thread(target=controller.run, name="controller", daemon=True)
    thread.start()
    ring = KeyRing.load(settings.security.keys_directory)
    try:
        with connect(settings.broker) as redis:
            until(lambda: status(redis, ring).leader, "the controller to lead")
            until(lambda: status(redis, ring).locked is locked, "the controller to open the line")
        yield controller
    finally:
        controller.stop()
        thread.join(10)


def redis_of(settings: Settings) -> Redis:
    """A connection of the caller's own."""
    return connect(settings.broker)
