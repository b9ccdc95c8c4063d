"""Work that is done again and again, in a daemon thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from celery.utils.log import get_logger

logger = get_logger(__name__)


def repeat(name: str, every_s: float, work: Callable[[], object]) -> threading.Thread:
    """Start doing the work; one time that fails is logged and ends nothing."""

    def run() -> None:
        pause = threading.Event()
        while not pause.wait(every_s):
            try:
                work()
            except Exception as error:  # noqa: BLE001 - the next time must come, whatever this one ended in
                logger.warning("%s: %s: %s", name, type(error).__name__, error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
