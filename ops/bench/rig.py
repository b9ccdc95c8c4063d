"""What every bench stands on: a broker of its own and worker processes that are gone when it ends."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from security.lockdown import status, throwaway
from switchtower.connection import connect
from switchtower.envelope import KeyRing
from switchtower.queues import QUEUES
from switchtower.settings import Line, Settings, load
from workers.embedded import embedded
from workers.supervisor import Supervisor, worker_command
from workers.system import wait_ready

HERE = Path(__file__).resolve().parent
KINDS = ("guardrail", "router", "gpu", "upkeep")
SHORT = Line(lease_s=2, grace_s=1, sweep_s=0.2, soft_shutdown_s=2, retention_s=7200)
"""Leases short enough that a bench sees lost work come back within seconds."""

_OPEN_S = 20


class Rig:
    """A running broker, and the workers that a bench starts on it and stops again."""

    def __init__(self, settings: Settings, line: Line) -> None:
        self.settings = settings.model_copy(update={"line": line})
        said = line.model_dump().items()
        self._environment = {f"SWITCHTOWER_LINE__{name.upper()}": str(value) for name, value in said}
        self.redis: Redis = connect(settings.broker)

    @contextmanager
    def workers(self, **commands: list[str]) -> Iterator[Supervisor]:
        """Worker processes for as long as the block runs; the name is the log's name."""
        crew = Supervisor(self.settings, self.settings.home / "logs", self._environment)
        try:
            for name, command in commands.items():
                crew.start(name, *command)
            yield crew
        finally:
            crew.stop()

    @contextmanager
    def line(self, *kinds: str, tokens: int = 0, pause: float = 0.0, **replaced: list[str]) -> Iterator[Supervisor]:
        """The line's own workers, an echo in the model's place, ready for work."""
        chosen = kinds or KINDS
        commands: dict[str, list[str]] = {kind: quiet_worker(kind) for kind in chosen}
        commands |= {"gpu": echo(tokens, pause)} if "gpu" in chosen else {}
        self.forget_bindings()
        with self.workers(**commands | replaced) as crew:
            wait_ready(self.settings, crew, chosen)
            yield crew

    def release(self) -> None:
        """Let the line run again, as an operator would; each time a new one, for a code is taken once."""
        throwaway.Throwaway.create(self.settings)
        verdict = throwaway.release(self.redis, self.settings, "the bench has seen enough")
        if verdict.outcome != "released":
            raise RuntimeError(verdict.text)

    def forget_bindings(self) -> None:
        """Make `wait_ready` wait for the workers to come, and not for those that have left."""
        self.redis.delete("switchtower:models", *(f"_kombu.binding.{queue}" for queue in QUEUES))


def quiet_worker(kind: str) -> list[str]:
    """The command of a worker that writes no line per task, as the plain workers beside it."""
    return [*worker_command(kind), "--level=WARNING"]


def echo(tokens: int = 0, pause: float = 0.0, concurrency: int = 4) -> list[str]:
    """The command of a gpu worker without a model."""
    script = str(HERE / "echo_worker.py")
    return [sys.executable, script, f"--tokens={tokens}", f"--pause={pause}", f"--concurrency={concurrency}"]


@contextmanager
def rig(line: Line | None = None) -> Iterator[Rig]:
    """A broker and a controller in a temporary folder; Ctrl-C and SIGTERM end everything that stands on them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="switchtower-bench-") as home, embedded(load(), Path(home)) as found:
        made = Rig(found, line or found.line)
        with made.workers(controller=worker_command("controller")):
            ring = KeyRing.load(found.security.keys_directory)
            if not wait_for(lambda: not status(made.redis, ring).locked, _OPEN_S):
                raise RuntimeError("no controller has opened the line")
            yield made
        made.redis.close()


def kill(crew: Supervisor, name: str) -> None:
    """SIGKILL a worker in the middle of whatever it does, and start it again."""
    process = crew.processes[name]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    crew.respawn(name)


def broker_pid(settings: Settings) -> int:
    """The process of the embedded broker."""
    return int((settings.home / "valkey" / "pid").read_text())


def family(process: int) -> list[int]:
    """A process and its children."""
    found = (Path(f"/proc/{process}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{process}/task"))
    return [process, *(int(child) for children in found for child in children.split())]


def cpu_seconds(*processes: int) -> float:
    """What these processes have computed so far; says more than wall time on a machine that others use too."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_for(done: Callable[[], bool], seconds: float, every_s: float = 0.05) -> bool:
    """Whether a condition came true in time."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(every_s)
    return True
