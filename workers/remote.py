"""The model of a gpu worker that loads none itself: a server has the base and the adapters, and the shelf their cards.

Covered: what is announced is what the server lists, looked at with each heartbeat; jobs that wait for the server.
Not covered: putting adapters on the server; it is started with them, or told of them, by whoever runs it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from switchtower.errors import ConfigurationError, ModelUnavailable, SwitchtowerError
from switchtower.messages import now_ms
from switchtower.models import Capability, ModelCard, OutputFormat, Provider, Sampling
from switchtower.registry import Announcement, announce, succeed
from switchtower.settings import Local, Settings
from workers.adapters import SHIPPED
from workers.adapters.shelf import AdapterShelf
from workers.models.builtin import NAME
from workers.models.source import name_for
from workers.providers.base import Generation
from workers.providers.openai_compatible import POLL_S, OpenAICompatible
from workers.providers.private import expect_private
from workers.runtime import Runtime

logger = get_logger(__name__)


class RemoteModel:
    """A base model and adapters on a server of the house; it counts as local."""

    def __init__(self, settings: Settings) -> None:
        local = settings.local
        url = local.server_url or ""
        expect_private(url, vouched=local.server_is_private)
        key = local.server_key.get_secret_value() if local.server_key else None
        self._base = _base_name(local)
        name = local.server_model or self._base
        self.server = OpenAICompatible(url, name, key=key, timeout_s=local.server_timeout_s)
        self.engine = PatientEngine(self.server, settings.line.grace_s)
        self.shelf = AdapterShelf(local.adapter_directory or SHIPPED, self._base)
        self._settings = settings
        self._cards: list[ModelCard] = []
        self._said = ""
        self._worker = f"{socket.gethostname()}/{os.getpid()}"

    def cards(self) -> list[ModelCard]:
        """The base model and every adapter on the shelf, as far as the server has them, at this deployment's cost."""
        here = self.server.models()
        context = here.get(self.server.model) or self._settings.local.context_size
        priced = {"cost_per_token": self._settings.cost.local_cost_per_token, "context_tokens": context}
        able = frozenset({Capability.GENERAL})
        base = ModelCard(name=self._base, provider=Provider.LOCAL, capabilities=able, base=self._base)
        wanted = {self.server.model: base, **{card.name: card for card in self.shelf.cards()}}
        missing = sorted(wanted.keys() - here.keys())
        self._say(f"the model's server lacks {', '.join(missing)}" if missing else "")
        return [card.model_copy(update=priced) for there, card in wanted.items() if there in here]

    def announce(self, runtime: Runtime) -> None:
        """Tell the registry now, and every heartbeat from now on; raises where the server does not take the key."""
        self._look(refuse=True)
        succeed(runtime.ledger.redis, self._announcements(runtime), self._settings.local.heartbeat_s)
        threading.Thread(target=self._beat, args=(runtime,), name="model-heartbeat", daemon=True).start()

    def _beat(self, runtime: Runtime) -> None:
        pause = threading.Event()
        while not pause.wait(self._settings.local.heartbeat_s):
            self._look()
            try:
                announce(runtime.ledger.redis, self._announcements(runtime))
            except RedisError as error:
                logger.warning("the model could not be announced: %s", type(error).__name__)

    def _look(self, *, refuse: bool = False) -> None:
        """Ask the server what it has; while it does not say, nothing is announced, and jobs wait."""
        try:
            self._cards = self.cards()
            self.engine.up.set()
        except SwitchtowerError as error:
            if refuse and isinstance(error, ConfigurationError):
                raise
            self.engine.up.clear()
            self._cards = []
            self._say(str(error))

    def _say(self, words: str) -> None:
        """Log what is amiss, once and not with each heartbeat."""
        if words and words != self._said:
            logger.warning("%s", words)
        self._said = words

    def _announcements(self, runtime: Runtime) -> list[Announcement]:
        busy, seen = runtime.keeper.count, now_ms()
        return [Announcement(card=card, worker=self._worker, seen=seen, busy=busy) for card in self._cards]


def _base_name(local: Local) -> str:
    """What the base model is called here; its files may lie on the server only."""
    if local.base_model_path in {None, NAME}:
        return NAME
    path = Path(local.base_model_path or "")
    return name_for(path.stem if path.suffix == ".gguf" else path.name)


class PatientEngine:
    """Holds jobs for a while where the server is known to be down, so that the others stay in the queue."""

    def __init__(self, server: OpenAICompatible, patience_s: float) -> None:
        self.up = threading.Event()
        self._server = server
        self._patience_s = patience_s

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """Answer the messages, or raise `ModelUnavailable`."""
        end = time.monotonic() + self._patience_s
        while not self.up.wait(POLL_S):
            if (reason := stop()) is not None:
                return Generation("", 0, 0, reason)
            if time.monotonic() > end:
                raise ModelUnavailable
        return self._server.generate(messages, adapter, sampling, on_token, stop, output)
