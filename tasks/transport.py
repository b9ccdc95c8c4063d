"""The transport of a worker: what a message says of its own delivery is replaced by what is known of it."""

from __future__ import annotations

import uuid
from typing import Any

from kombu.transport.redis import Transport


class KnowingTransport(Transport):
    """Kombu's, which believes its messages.

    Who can write to a queue could otherwise name the list that a message is given back to, under any key
    that the worker may write; could let it bear the tag of another message, which would then be forgotten
    with it; and could send a few bytes that unpack to more than the worker's memory holds.
    """

    def _deliver(self, message: Any, queue: str) -> None:
        super()._deliver(_known(message, queue), queue)  # type: ignore[no-untyped-call]


def _known(message: dict[str, Any], queue: str) -> dict[str, Any]:
    """The message with its delivery as it was; a compressed body is no JSON any more, and is dropped as such."""
    properties = {
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_tag": str(uuid.uuid4()),
        "body_encoding": message["properties"].get("body_encoding"),
    }
    headers = {name: value for name, value in message["headers"].items() if name != "compression"}
    return message | {"properties": properties, "headers": headers}
