"""A guardrail worker with a detector that fails in the way that the text names.

Run as `python -m tests.support.faulty_guardrail`; `--concurrency` as for a real one.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from security.guardrails import Guardrail
from security.packs import RulePack
from switchtower.models import Finding, Surface
from switchtower.queues import REVIEW, SCREEN
from switchtower.settings import Settings, settings
from tasks.kinds import KINDS, build
from tasks.review import reviewer
from tasks.screen import screener
from tasks.station import Body
from workers.boot import serve
from workers.parent import end_with_parent
from workers.runtime import Runtime

CRASH, HANG, RAISE, HOG = "crash", "hang", "raise", "hog"
_ROOM = 512 << 20


@dataclass(frozen=True)
class Faulty:
    """A detector that does what the text says."""

    version: str = "faulty"

    def findings(self, text: str, surface: Surface) -> Iterable[Finding]:
        """Nothing, where it comes back at all."""
        if CRASH in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if HANG in text:
            threading.Event().wait()
        if RAISE in text:
            raise RuntimeError(text)
        if HOG in text:
            _hog()
        return ()


def _hog() -> None:
    """Run into the end of the memory that the process may have."""
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, before[1]))
    try:
        bytearray(4 * _ROOM)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def bodies(config: Settings, runtime: Runtime) -> dict[str, Body]:
    """The guardrail's stations with the faulty detector."""
    guardrail = Guardrail(RulePack.load(), detectors=[Faulty()])
    return {SCREEN: screener(guardrail), REVIEW: reviewer(guardrail)}


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--pool", default="threads")
    said = parser.parse_args()
    end_with_parent()
    kind = KINDS["guardrail"]
    serve(build(kind, settings(), bodies), kind.name, kind.queues, said.pool, said.concurrency)


if __name__ == "__main__":
    main()
