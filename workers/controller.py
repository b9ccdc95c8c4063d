"""`switchtower controller`: the process that holds the line open, and locks it when in doubt."""

from __future__ import annotations

import logging
import signal
from types import FrameType

from rich.console import Console


def run_controller() -> None:
    """Run a controller until it is told to stop; a second one stands by and takes over when the first one dies."""
    from security.lockdown.controller import Controller
    from security.lockdown.heads import heads_of
    from security.lockdown.memory import alone
    from security.lockdown.places import controller_folder
    from switchtower.settings import settings
    from workers.parent import end_with_parent

    logging.basicConfig(format="[%(asctime)s] %(message)s", level=logging.WARNING)
    config = settings()
    with alone(controller_folder(config)):
        controller = Controller(config, heads_of(config))

        def stop(_number: int, _frame: FrameType | None) -> None:
            controller.stop()

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        end_with_parent()
        controller.run()
    Console(stderr=True).print("controller stopped; the line locks with its lease unless another one takes over")
