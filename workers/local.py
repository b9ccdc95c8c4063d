"""The local model of a gpu worker: base, adapters, engine, and the heartbeat that announces them."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, Provider
from switchtower.registry import Announcement, announce, succeed
from switchtower.settings import Settings
from workers.adapters.shelf import AdapterShelf
from workers.engine.engine import Engine
from workers.models import base as base_model
from workers.runtime import Runtime

SHIPPED = Path(__file__).resolve().parent.parent / "adapters"

logger = get_logger(__name__)


class LocalModel:
    """A loaded base model and its engine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        base = base_model.served(settings.local)
        self.shelf = AdapterShelf(settings.local.adapter_directory or SHIPPED)
        self.engine = Engine(base, self.shelf, settings.local)
        self._base = base.name
        self._worker = f"{socket.gethostname()}/{os.getpid()}"

    def cards(self) -> list[ModelCard]:
        """The base model and every adapter on it, at this deployment's cost."""
        cost, context = self._settings.cost.local_cost_per_token, self._settings.local.context_size
        base = ModelCard(
            name=self._base, provider=Provider.LOCAL, capabilities=frozenset({Capability.GENERAL}), base=self._base
        )
        priced = {"cost_per_token": cost, "context_tokens": context}
        return [card.model_copy(update=priced) for card in (base, *self.shelf.cards())]

    def announce(self, runtime: Runtime) -> None:
        """Tell the registry now, and every heartbeat from now on in a thread of its own."""
        succeed(runtime.ledger.redis, self._announcements(runtime), self._settings.local.heartbeat_s)
        threading.Thread(target=self._beat, args=(runtime,), name="model-heartbeat", daemon=True).start()

    def _beat(self, runtime: Runtime) -> None:
        pause = threading.Event()
        while not pause.wait(self._settings.local.heartbeat_s):
            try:
                announce(runtime.ledger.redis, self._announcements(runtime))
            except RedisError as error:
                logger.warning("the model could not be announced: %s", type(error).__name__)

    def _announcements(self, runtime: Runtime) -> list[Announcement]:
        busy, seen = runtime.keeper.count, now_ms()
        return [Announcement(card=card, worker=self._worker, seen=seen, busy=busy) for card in self.cards()]
