"""The local model of a gpu worker: loaded and unloaded as operators want it, watched, and announced each heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from switchtower.errors import AdapterBusy, ModelOutOfMemory, ModelUnavailable, SwitchtowerError, WorkerStopping
from switchtower.messages import now_ms
from switchtower.models import ModelCard, OutputFormat, Sampling
from switchtower.registry import LOADED, Announcement, Vitals, announce, succeed
from switchtower.settings import Settings
from workers import vitals
from workers.adapters import SHIPPED
from workers.adapters.shelf import AdapterShelf
from workers.engine.engine import Engine
from workers.health import Checkup, expect_health, give_up, trouble
from workers.introduction import base_card, worker_name
from workers.models import base as base_model
from workers.models.base import BaseModel
from workers.models.holder import Holder, State
from workers.models.orders import Orders
from workers.models.source import resolve
from workers.patience import PatientEngine
from workers.providers.base import Generation
from workers.repeat import repeat
from workers.runtime import Runtime

AGAIN_S = 30.0
"""A load that failed is tried again after this."""
_LOOK_S = 0.05

logger = get_logger(__name__)


class LocalModel:
    """A base model, the engine on it while it is loaded, and the jobs that wait while it is not.

    `load` makes the base model, each time anew; the settings' own is made where none is given.
    """

    def __init__(self, settings: Settings, load: Callable[[], BaseModel] | None = None, name: str = "") -> None:
        local = settings.local
        self.name = name or resolve(local.cache_directory, local.base_model_path).name
        self.shelf = AdapterShelf(local.adapter_directory or SHIPPED, self.name)
        self.engine = PatientEngine(self, settings.line.grace_s)
        self._settings = settings
        self._holder = Holder(lambda progress: load() if load else base_model.served(local, progress), self._moved)
        self._serving: Engine | None = None
        self._checkup = Checkup()
        self._trouble = ""
        self._again = 0.0
        self._worker = worker_name()
        self._runtime: Runtime | None = None
        self._announced = False

    # -- what the station and the registry ask ------------------------------------------------

    def generate(
        self,
        messages: Sequence[dict[str, str]],
        adapter: str | None,
        sampling: Sampling,
        on_token: Callable[[str], None],
        stop: Callable[[], str | None],
        output: OutputFormat | None = None,
    ) -> Generation:
        """Answer the messages; raises `ModelUnavailable` where the model was unloaded just now."""
        engine = self._serving
        if engine is None:
            raise ModelUnavailable
        try:
            return engine.generate(messages, adapter, sampling, on_token, stop, output)
        except SwitchtowerError:
            raise
        except Exception:
            self._checkup.suspect = True  # perhaps it was the request, and perhaps the model is broken for good
            raise

    def cards(self) -> list[ModelCard]:
        """The base model and every adapter on it, at this deployment's cost."""
        cost, context = self._settings.cost.local_cost_per_token, self._settings.local.context_size
        priced = {"cost_per_token": cost, "context_tokens": context}
        return [card.model_copy(update=priced) for card in (base_card(self.name), *self.shelf.cards())]

    @property
    def state(self) -> State:
        """Where the model is; one whose engine is not ready yet is still loading."""
        found = self._holder.state
        return State.LOADING if found is State.LOADED and not self.engine.up.is_set() else found

    # -- loading and unloading ----------------------------------------------------------------

    def load(self) -> None:
        """Load the model and let it prove that it answers; raises `BaseModelError` where it does not."""
        base = self._holder.load()
        try:
            self._serving = self.made(base)
            expect_health(self._serving, self.name)
            self._preload(self._serving)
        except BaseException:
            self._holder.unload(self._close)
            raise
        self._be(away=False)
        self._trouble = ""

    def unload(self) -> None:
        """Take no more jobs, let those that run finish for a while, and give the memory back."""
        self._holder.unload(self._drain)

    def made(self, base: BaseModel) -> Engine:
        """An engine on this base model."""
        shelf = AdapterShelf(self.shelf.directory, base.name, base.sha256 or None)
        return Engine(base, shelf, self._settings.local)

    def _preload(self, engine: Engine) -> None:
        try:
            engine.adapters.preload(self._settings.local.preload_adapters)
        except ExceptionGroup as group:
            for error in group.exceptions:
                logger.warning("not preloaded: %s", error)

    def _moved(self, state: State) -> None:
        if state is State.UNLOADING:
            self._be(away=True)
        logger.info("%s is %s", self.name, state)
        self._announce()  # at once, so that the router prefers others from now on

    def _be(self, *, away: bool) -> None:
        """Take jobs or leave them in their queue, for other workers or for later; some may be here already."""
        (self.engine.up.clear if away else self.engine.up.set)()
        if self._runtime:
            (self._runtime.away.set if away else self._runtime.away.clear)()

    def _drain(self) -> None:
        end = time.monotonic() + self._settings.line.soft_shutdown_s
        pause, engine = threading.Event(), self._serving
        while engine and (engine.loop.rows or engine.loop.waiting) and time.monotonic() < end:
            pause.wait(_LOOK_S)
        self._close()

    def _close(self) -> None:
        engine = self._serving
        if engine:
            engine.close()  # hands back what has not finished
        self._serving = None

    # -- while the worker runs ----------------------------------------------------------------

    def announce(self, runtime: Runtime, orders: Orders) -> None:
        """Load the model if operators want it loaded, tell the registry, and follow both from now on.

        Raises `BaseModelError` where the model cannot be loaded or does not answer; it is not announced then.
        """
        local, self._runtime = self._settings.local, runtime
        repeat("engine-watch", min(1.0, local.stuck_s / 4), lambda: self._watch(runtime))
        if orders.wanted() == LOADED:
            self.load()
        else:
            self._be(away=True)
        succeed(runtime.ledger.redis, self._announcements(runtime), local.heartbeat_s, self._vitals())
        self._announced = True
        repeat("model-heartbeat", local.heartbeat_s, self._announce)
        repeat("model-orders", local.heartbeat_s, lambda: self._follow(runtime, orders))

    def _announce(self) -> None:
        if self._runtime is None or not self._announced:
            return
        try:
            announce(self._runtime.ledger.redis, self._announcements(self._runtime), self._vitals())
        except RedisError as error:
            logger.warning("the model could not be announced: %s", type(error).__name__)

    def _announcements(self, runtime: Runtime) -> list[Announcement]:
        said: dict[str, Any] = {"worker": self._worker, "seen": now_ms(), "busy": runtime.keeper.count}
        loaded = self.engine.up.is_set()
        return [Announcement(card=card, loaded=loaded, **said) for card in self.cards()]

    def _vitals(self) -> Vitals:
        engine, most = self._serving, self._settings.local.max_batch
        facts: dict[str, Any] = vitals.process() | vitals.gpu() | (vitals.of_engine(engine) if engine else {})
        facts |= {"state": self.state, "trouble": self._trouble[:500], "max_batch": most}
        return Vitals(worker=self._worker, seen=now_ms(), model=self.name, **facts)

    def _watch(self, runtime: Runtime) -> None:
        engine = self._serving
        if engine and (why := trouble(engine.loop, self._settings.local.stuck_s)):
            self._again = float("inf")  # nothing is loaded in here any more
            self.engine.up.clear()
            self._trouble = why
            give_up(runtime, engine.loop, why)

    def _follow(self, runtime: Runtime, orders: Orders) -> None:
        """Bring the model to where the operators want it; where it is to stay loaded, look after it."""
        wanted = orders.wanted()
        if wanted != LOADED:
            self.unload()
        elif self.engine.up.is_set():
            self._tidy()
            self._check(runtime)
        elif time.monotonic() >= self._again:
            self._load_again()

    def _tidy(self) -> None:
        """Adapters whose folders were taken away leave their slots; those whose folders came back may be had again."""
        if (engine := self._serving) is None:
            return
        there = set(self.shelf.names())
        for name in {fact.name for fact in engine.adapters.facts()} - there - engine.adapters.unloaded:
            with suppress(AdapterBusy):
                engine.adapters.unload(name, 0)
        for name in engine.adapters.unloaded & there:
            if name in self._settings.local.pinned_adapters:
                engine.adapters.pin(name)
            engine.adapters.readmit(name)

    def _load_again(self) -> None:
        try:
            self.load()
        except Exception as error:  # noqa: BLE001 - the worker goes on, and says what is amiss
            self._again = time.monotonic() + AGAIN_S
            said = str(error) if isinstance(error, SwitchtowerError) else type(error).__name__
            self._trouble = f"{said}; tried again every {AGAIN_S:.0f} s"
            logger.error("%s could not be loaded: %s", self.name, self._trouble)

    def _check(self, runtime: Runtime) -> None:
        engine = self._serving
        if engine is None or not self._checkup.due(engine.loop.meter.steps):
            return
        try:
            engine.health_check()
        except (ModelOutOfMemory, WorkerStopping) as error:
            logger.warning("the health check broke off: %s", error)
        except Exception as error:  # noqa: BLE001 - a model that cannot answer one token needs a new process
            self.engine.up.clear()
            give_up(runtime, engine.loop, f"the model does not answer a single token ({type(error).__name__})")
