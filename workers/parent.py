"""A process that belongs to another one and must not outlive it."""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "SWITCHTOWER_PARENT"
_GRACE_S = 60
"""Longer than a soft shutdown; a worker that has lost its broker too would look for it for ever."""


def end_with_parent(every_s: float = 0.5) -> None:
    """Terminate this process when the supervisor that started it is gone."""
    parent = os.environ.get(VARIABLE)
    if parent is None:
        return

    def follow() -> None:
        while os.getppid() == int(parent):
            time.sleep(every_s)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, name="parent-watch", daemon=True).start()
