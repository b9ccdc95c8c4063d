"""The app that a monitor runs on: `celery --app switchtower.monitor flower`.

It has the line's TLS and the monitor's own user, and no result backend: a monitor must not fetch answers.
"""

from __future__ import annotations

from switchtower.app import create_app

app = create_app(role="monitor")
app.conf.result_backend = "disabled://"
