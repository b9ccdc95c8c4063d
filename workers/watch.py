"""Reads the lockdown flag in a thread of its own: pushed at once, polled every 50 ms, stale means locked."""

from __future__ import annotations

import threading

from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError

from security.halt import Halt
from security.lockdown import Flag
from switchtower.connection import connect
from switchtower.jobs import FLAG, FLAG_CHANNEL
from switchtower.settings import Broker

logger = get_logger(__name__)


class Watch(threading.Thread):
    """Keeps the stop byte true to the flag."""

    def __init__(self, broker: Broker, flag: Flag, halt: Halt, every_s: float, stale_s: float) -> None:
        super().__init__(name="lockdown-watch", daemon=True)
        self._redis: Redis = connect(broker, socket_timeout=stale_s, socket_connect_timeout=stale_s)
        self._flag = flag
        self._halt = halt
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._follow()
            except (RedisError, OSError) as error:
                self._halt.saw(is_open=False)
                logger.warning("the lockdown flag cannot be read (%s): halted", type(error).__name__)
                self._ended.wait(self._every_s)

    def _follow(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as push:
            push.subscribe(FLAG_CHANNEL)
            while not self._ended.is_set():
                self.read()
                push.get_message(timeout=self._every_s)

    def read(self) -> None:
        """Read the flag once and set the stop byte."""
        self._halt.saw(self._flag.accept(str(self._redis.get(FLAG) or "")))

    def end(self) -> None:
        self._ended.set()
