"""Runs one process per worker, restarts what dies, and stops all of them in good order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from celery.utils.log import get_logger

from switchtower.settings import Settings
from workers.embedded import environment
from workers.parent import VARIABLE

logger = get_logger(__name__)

SERVICES = ("auditor", "controller")
"""Processes of the system that are no Celery workers, in the order in which they start; they outlive the workers."""

_HARD_KILL_S = 5
# Spinning OpenMP threads on a busy machine slow each other down tenfold.
_CALM = {"OMP_WAIT_POLICY": "PASSIVE"}


class Supervisor:
    """The worker processes of one machine."""

    def __init__(self, settings: Settings, logs: Path, extra: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._logs = logs
        self._environment = {**_CALM, **os.environ, **environment(settings), **(extra or {})}
        self._commands: dict[str, list[str]] = {}
        self._secrets: dict[str, dict[str, str]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str, **secrets: str) -> None:
        """Start a process under a name; its output goes to `<name>.log`, secrets into its environment only."""
        self._commands[name] = list(command) or worker_command(name)
        self._secrets[name] = secrets
        self.respawn(name)

    def respawn(self, name: str) -> None:
        """Start the process of this name (again)."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self._commands[name],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment | self._secrets[name] | {VARIABLE: str(os.getpid())},
                start_new_session=True,
            )

    def watch(self, every_s: float = 0.5) -> None:
        """Restart what ended by itself, until `stop` is called."""
        while not self._stopping.wait(every_s):
            for name, process in list(self.processes.items()):
                if process.poll() is not None and not self._stopping.is_set():
                    logger.warning("%s ended with %s and is started again", name, process.returncode)
                    self.respawn(name)

    def stop(self) -> None:
        """Ask all to finish what they run, wait for the soft shutdown, then kill what is left; services come last.

        Without a controller the line locks, and what still runs would be handed back instead of finished.
        """
        self._stopping.set()
        self._end([name for name in self.processes if name not in SERVICES])
        for name in reversed([name for name in self.processes if name in SERVICES]):
            self._end([name])

    def _end(self, names: Sequence[str]) -> None:
        for name in names:
            if self.processes[name].poll() is None:
                self.processes[name].terminate()
        until = time.monotonic() + self._settings.line.soft_shutdown_s + _HARD_KILL_S
        for name in names:
            try:
                self.processes[name].wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("%s did not stop in time and is killed; its lease runs out", name)
                self.processes[name].kill()
                self.processes[name].wait()


def worker_command(kind: str) -> list[str]:
    """The command line of a worker of this kind, or of a service."""
    words = [kind] if kind in SERVICES else ["worker", kind]
    return [sys.executable, "-m", "switchtower", *words]
