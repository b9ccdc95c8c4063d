"""The model of a gpu worker that loads none itself: a server has the base and the adapters, and the shelf their cards.

Covered: what is announced is what the server lists, looked at with each heartbeat; jobs that wait for the server.
Not covered: putting adapters on the server; it is started with them, or told of them, by whoever runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery.utils.log import get_logger

from switchtower.errors import ConfigurationError, SwitchtowerError
from switchtower.messages import now_ms
from switchtower.models import ModelCard
from switchtower.registry import LOADED, UNLOADED, Announcement, Vitals, announce, succeed
from switchtower.settings import Local, Settings
from workers import vitals
from workers.adapters import SHIPPED
from workers.adapters.shelf import AdapterShelf
from workers.introduction import base_card, worker_name
from workers.models.builtin import NAME
from workers.models.orders import Orders
from workers.models.source import name_for
from workers.patience import PatientEngine
from workers.providers.openai_compatible import OpenAICompatible
from workers.providers.private import expect_private
from workers.repeat import repeat
from workers.runtime import Runtime

logger = get_logger(__name__)


class RemoteModel:
    """A base model and adapters on a server of the house; it counts as local."""

    def __init__(self, settings: Settings) -> None:
        local = settings.local
        url = local.server_url or ""
        expect_private(url, vouched=local.server_is_private)
        key = local.server_key.get_secret_value() if local.server_key else None
        self.name = _base_name(local)
        name = local.server_model or self.name
        self.server = OpenAICompatible(url, name, key=key, timeout_s=local.server_timeout_s)
        self.engine = PatientEngine(self.server, settings.line.grace_s)
        self.shelf = AdapterShelf(local.adapter_directory or SHIPPED, self.name)
        self._settings = settings
        self._cards: list[ModelCard] = []
        self._said = ""
        self._worker = worker_name()

    def cards(self) -> list[ModelCard]:
        """The base model and every adapter on the shelf, as far as the server has them, at this deployment's cost."""
        here = self.server.models()
        context = here.get(self.server.model) or self._settings.local.context_size
        priced = {"cost_per_token": self._settings.cost.local_cost_per_token, "context_tokens": context}
        base = base_card(self.name)
        wanted = {self.server.model: base, **{card.name: card for card in self.shelf.cards()}}
        missing = sorted(wanted.keys() - here.keys())
        self._say(f"the model's server lacks {', '.join(missing)}" if missing else "")
        return [card.model_copy(update=priced) for there, card in wanted.items() if there in here]

    def announce(self, runtime: Runtime, orders: Orders) -> None:
        """Tell the registry now, and every heartbeat from now on; raises where the server does not take the key."""
        self._look(runtime, orders, refuse=True)
        redis, every_s = runtime.ledger.redis, self._settings.local.heartbeat_s
        succeed(redis, self._announcements(runtime), every_s, self._vitals(runtime))
        repeat("model-heartbeat", every_s, lambda: self._beat(runtime, orders))

    def _beat(self, runtime: Runtime, orders: Orders) -> None:
        self._look(runtime, orders)
        announce(runtime.ledger.redis, self._announcements(runtime), self._vitals(runtime))

    def _look(self, runtime: Runtime, orders: Orders, *, refuse: bool = False) -> None:
        """Ask the server what it has; while it does not say, nothing is announced, and jobs wait."""
        try:
            self._cards = self.cards()
            self._answer(runtime, wanted=orders.wanted() == LOADED)
        except SwitchtowerError as error:
            if refuse and isinstance(error, ConfigurationError):
                raise
            self.engine.up.clear()
            self._cards = []
            self._say(str(error))

    def _answer(self, runtime: Runtime, *, wanted: bool) -> None:
        """Take jobs, if operators want it so; a server that was away proves by one token that it is back."""
        (runtime.away.clear if wanted else runtime.away.set)()
        if not wanted:
            self.engine.up.clear()
        elif not self.engine.up.is_set():
            if any(card.name == self.name for card in self._cards):
                self.server.health_check()
            self.engine.up.set()

    def _say(self, words: str) -> None:
        """Log what is amiss, once and not with each heartbeat."""
        if words and words != self._said:
            logger.warning("%s", words)
        self._said = words

    def _announcements(self, runtime: Runtime) -> list[Announcement]:
        said: dict[str, Any] = {"worker": self._worker, "seen": now_ms(), "busy": runtime.keeper.count}
        return [Announcement(card=card, loaded=self.engine.up.is_set(), **said) for card in self._cards]

    def _vitals(self, runtime: Runtime) -> Vitals:
        """What is known here; slots, memory and speed are the server's own, and stand in its metrics."""
        state = LOADED if self.engine.up.is_set() else UNLOADED
        facts = {"state": state, "trouble": self._said[:500], "rows": runtime.keeper.count, **vitals.process()}
        return Vitals(worker=self._worker, seen=now_ms(), model=self.name, **facts)


def _base_name(local: Local) -> str:
    """What the base model is called here; its files may lie on the server only."""
    if local.base_model_path in {None, NAME}:
        return NAME
    path = Path(local.base_model_path or "")
    return name_for(path.stem if path.suffix == ".gguf" else path.name)
