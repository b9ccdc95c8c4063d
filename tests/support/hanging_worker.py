"""A gpu worker with the real model, whose next step hangs or breaks once a file asks for it.

Run as `python -m tests.support.hanging_worker --fault PATH`; the file's text is `hang` or `break`.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path
from typing import Any

from switchtower.settings import Settings, settings
from tasks import kinds
from workers.boot import serve
from workers.local import LocalModel
from workers.parent import end_with_parent


class FaultyRunner:
    """The engine's runner; it hangs once, and is broken until the file is gone."""

    def __init__(self, runner: Any, fault: Path) -> None:
        self._runner = runner
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, *step: Any) -> Any:
        """Do the step, unless a fault is asked for."""
        wanted = self._fault.read_text() if self._fault.exists() else ""
        if wanted == "break":
            raise RuntimeError("the device is lost")
        if wanted == "hang":
            self._fault.unlink()
            threading.Event().wait()
        return self._runner.run(*step)


class FaultyModel(LocalModel):
    """The local model on such a runner."""

    def __init__(self, settings: Settings, fault: Path) -> None:
        super().__init__(settings)
        self._fault = fault

    def made(self, *parts: Any) -> Any:
        engine = super().made(*parts)
        engine.loop._runner = FaultyRunner(engine.loop._runner, self._fault)
        return engine


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", type=Path, required=True)
    fault = parser.parse_args().fault
    end_with_parent()
    kinds._model = lambda config: FaultyModel(config, fault)  # type: ignore[assignment]
    kind = kinds.KINDS["gpu"]
    serve(kinds.build(kind, settings()), kind.name, kind.queues, kind.pool, kind.places(settings()))


if __name__ == "__main__":
    main()
