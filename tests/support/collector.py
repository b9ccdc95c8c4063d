"""A user's own Celery worker, whose one task is the body of a chord of jobs.

Run as `python -m tests.support.collector`.
"""

from __future__ import annotations

import json
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from switchtower.app import create_app
from switchtower.settings import Settings, settings
from workers.parent import end_with_parent

QUEUE = "collector"
JOIN = "collector.join"


def build(config: Settings) -> Celery:
    """The user's app: the same broker, one queue and one task more."""
    app = create_app(config, QUEUE)
    app.conf.task_queues = [*app.conf.task_queues, Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)]
    app.task(join, name=JOIN)
    return app


def join(sealed: list[dict[str, Any]]) -> str:
    """The texts of the answers, in the order of the questions."""
    return " | ".join(json.loads(one["payload"])["text"] for one in sealed)


def main() -> None:
    """Run the worker."""
    end_with_parent()
    said = [f"--queues={QUEUE}", "--pool=solo", f"--hostname={QUEUE}@%h", "--without-mingle", "--without-gossip"]
    build(settings()).worker_main(["worker", *said])


if __name__ == "__main__":
    main()
