"""What a worker writes down: a step that is handed back is a line, not a traceback."""

from __future__ import annotations

import logging

from celery.exceptions import Reject


class HandBackFilter(logging.Filter):
    """Drops the traceback of a rejection, which is no error here and comes by the hundred under lockdown."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], Reject):
            record.exc_info = None
        return True


def calm() -> None:
    """Put the filter where Celery logs the ends of tasks."""
    logging.getLogger("celery.app.trace").addFilter(HandBackFilter())
