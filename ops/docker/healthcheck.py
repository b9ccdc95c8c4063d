"""Exit 0 when this container's worker sends heartbeats, or its controller was seen of late; also under lockdown."""

from __future__ import annotations

import base64
import json
import socket
import sys
import time

from security.acl.passwords import database
from security.lockdown.places import CONTROLLERS
from switchtower.connection import connect
from switchtower.settings import settings

_SEEN_S = 5
_HEARD_S = 8  # a worker sends a heartbeat every two seconds


def worker() -> bool:
    """Listen for a heartbeat from this host; a worker's user may hear them, and may not ping."""
    broker = settings().broker
    until = time.monotonic() + _HEARD_S
    with connect(broker) as redis, redis.pubsub(ignore_subscribe_messages=True) as heard:
        heard.subscribe(f"/{database(broker.url)}.celeryev/worker.heartbeat")
        while (left := until - time.monotonic()) > 0:
            message = heard.get_message(timeout=left)
            if message and _sender(message["data"]).endswith(f"@{socket.gethostname()}"):
                return True
    return False


def _sender(raw: str) -> str:
    event = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return str(event["hostname"])


def controller() -> bool:
    """Look whether a controller of this host has said that it is there."""
    with connect(settings().broker) as redis:
        seen = redis.zrange(CONTROLLERS, int(1000 * (time.time() - _SEEN_S)), "+inf", byscore=True)
    return any(name.startswith(f"{socket.gethostname()}:") for name in seen)


if __name__ == "__main__":
    sys.exit(not (controller() if "controller" in sys.argv[1:] else worker()))
