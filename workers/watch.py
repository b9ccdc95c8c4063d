"""Reads the lockdown flag in a thread of its own: pushed at once, polled every 50 ms, stale means locked."""

from __future__ import annotations

import threading

from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError

from security.halt import Halt
from switchtower.connection import connect
from switchtower.jobs import FLAG_CHANNEL
from switchtower.lease import Flag, read_flag
from switchtower.settings import Broker

logger = get_logger(__name__)


class Watch(threading.Thread):
    """Keeps the stop byte true to the flag."""

    def __init__(self, broker: Broker, flag: Flag, halt: Halt, every_s: float, stale_s: float) -> None:
        super().__init__(name="lockdown-watch", daemon=True)
        self._redis: Redis = connect(
            broker, socket_timeout=stale_s, socket_connect_timeout=stale_s, encoding_errors="replace"
        )
        self._flag = flag
        self._halt = halt
        self._every_s = every_s
        self._ended = threading.Event()
        self._said = ""

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._follow()
            except (RedisError, OSError) as error:
                self._halt.saw(is_open=False)
                self._say(f"the lockdown flag cannot be read ({type(error).__name__}): halted")
                self._ended.wait(self._every_s)

    def _follow(self) -> None:
        with self._redis.pubsub(ignore_subscribe_messages=True) as push:
            push.subscribe(FLAG_CHANNEL)
            while not self._ended.is_set():
                self.read()
                message = push.get_message(timeout=self._every_s)
                if message:
                    self._flag.heard(str(message["data"]))

    def read(self) -> None:
        """Read the flag once and set the stop byte."""
        is_open = self._flag.accept(*read_flag(self._redis))
        self._halt.saw(is_open)
        self._say("" if is_open else f"the lockdown flag does not say open: {self._flag.doubt}")

    def _say(self, trouble: str) -> None:
        """Log what is new; trouble comes again twenty times a second."""
        if trouble and trouble != self._said:
            logger.warning("%s", trouble)
        self._said = trouble

    def end(self) -> None:
        self._ended.set()
