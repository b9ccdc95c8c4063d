"""A guardrail worker that screens no faster than it is told, so that messages wait inside of it for their turn."""

from __future__ import annotations

import argparse

from switchtower.queues import SCREEN
from switchtower.settings import settings
from tasks.kinds import KINDS, build
from workers.boot import serve
from workers.parent import end_with_parent


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", default="2/s", help="as Celery writes rate limits")
    said = parser.parse_args()
    end_with_parent()
    kind = KINDS["guardrail"]
    app = build(kind, settings())
    app.tasks[SCREEN].rate_limit = said.rate
    serve(app, kind.name, kind.queues, kind.pool, kind.concurrency, "WARNING")


if __name__ == "__main__":
    main()
