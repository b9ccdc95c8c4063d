"""Plain Celery, set up as its documentation advises: what the benches compare the line with.

Run as a script, it is one of its workers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from celery import Celery, Signature, chain
from redis import Redis

from switchtower.settings import settings
from tasks.kinds import KINDS
from workers.parent import end_with_parent

STEPS = {"screen": "guardrail", "route": "router", "generate": "gpu", "review": "guardrail"}
"""As many tasks as the line has, on as many queues."""

COUNTED = "plain.counted"
RUNS = "plain:runs"
_VISIBILITY_S = 10


def create_plain(url: str) -> Celery:
    """An app with late acknowledgements, JSON and stored results; everything else is stock."""
    app = Celery("plain", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={"visibility_timeout": _VISIBILITY_S},
        task_routes={f"plain.{step}": {"queue": f"plain.{kind}"} for step, kind in STEPS.items()}
        | {COUNTED: {"queue": COUNTED}},
    )
    for step in STEPS:
        app.task(name=f"plain.{step}", shared=False)(_pass_on)
    app.task(name=COUNTED, ignore_result=True, shared=False)(_counter(url))
    return app


def _pass_on(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _counter(url: str) -> Any:
    redis = Redis.from_url(url)

    def counted(number: int) -> None:
        redis.hincrby(RUNS, str(number), 1)

    return counted


def plain_chain(app: Celery) -> Signature:
    """The line's chain with nothing in it."""
    first, *others = (app.signature(f"plain.{step}") for step in STEPS)
    return chain(first.clone(args=[{"prompt": "hello"}]), *others)


def plain_worker(kind: str, queue: str | None = None) -> list[str]:
    """The command of a plain worker with the pool and concurrency of this kind."""
    return [sys.executable, str(Path(__file__).resolve()), kind, queue or f"plain.{kind}"]


def main() -> None:
    """Run one plain worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("queue")
    said = parser.parse_args()
    end_with_parent()
    kind, app = KINDS[said.kind], create_plain(settings().broker.url)
    options = [f"--queues={said.queue}", f"--pool={kind.pool}", f"--concurrency={kind.places(settings())}"]
    name = f"--hostname=plain-{said.kind}@%h"
    app.worker_main(["worker", *options, name, "--loglevel=WARNING", "--without-mingle", "--without-gossip"])


if __name__ == "__main__":
    main()
