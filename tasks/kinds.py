"""The kinds of worker: which key each holds, which queues it reads, which pool it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from router.pool import Pool
from security.assembled import make_guardrail
from switchtower.envelope import Role
from switchtower.errors import MissingDependency
from switchtower.queues import (
    GENERATE_LOCAL,
    GPU,
    GUARDRAIL,
    MODEL_STATE,
    REVIEW,
    ROUTE,
    ROUTER,
    SCREEN,
    TRAIN,
    TRAINING,
    UPKEEP,
)
from switchtower.registry import announced
from switchtower.settings import Settings
from tasks.admission import report
from tasks.generate import local_generator
from tasks.reload import follow
from tasks.review import reviewer
from tasks.route import router
from tasks.screen import screener
from tasks.station import Body, install
from tasks.train import trainer
from tasks.upkeep import SweepStep
from workers.adapters import SHIPPED
from workers.boot import assemble
from workers.bootsteps import EventStep
from workers.models.orders import Orders
from workers.runtime import Runtime
from workers.training.orders import Bases

if TYPE_CHECKING:
    from workers.local import LocalModel
    from workers.remote import RemoteModel

Bodies = Callable[[Settings, Runtime], dict[str, Body]]
"""Makes the bodies of a worker's stations, once, when it boots."""


@dataclass(frozen=True)
class Kind:
    """One kind of worker."""

    name: str
    role: Role | None
    queues: tuple[str, ...]
    pool: str
    concurrency: int
    bodies: Bodies

    def places(self, settings: Settings) -> int:
        """Steps at a time: a gpu worker's batch is full, and some more wait for their adapters meanwhile."""
        return self.concurrency or settings.local.max_batch * 5 // 4


def _upkeep(settings: Settings, runtime: Runtime) -> dict[str, Body]:
    runtime.app.steps["consumer"].add(SweepStep)
    return {}


def _guardrail(settings: Settings, runtime: Runtime) -> dict[str, Body]:
    guardrail = follow(make_guardrail(settings.security), runtime)
    return {SCREEN: screener(guardrail), REVIEW: reviewer(guardrail)}


def _router(settings: Settings, runtime: Runtime) -> dict[str, Body]:
    pool = Pool(lambda: announced(runtime.ledger.redis), settings.local.heartbeat_s, settings.routing.registry_cache_s)
    return {ROUTE: router(pool, settings.routing.default_strategy)}


def _model(settings: Settings) -> LocalModel | RemoteModel:
    """The model in this process or, where there is a server for it, on that."""
    if settings.local.server_url:
        try:
            from workers.remote import RemoteModel
        except ModuleNotFoundError as missing:
            raise MissingDependency(f"a model's server needs `pip install switchtower[cloud]`: {missing}") from None
        return RemoteModel(settings)
    from workers.local import LocalModel  # torch: only this kind of worker pays for it

    return LocalModel(settings)


def _gpu(settings: Settings, runtime: Runtime) -> dict[str, Body]:
    model = _model(settings)
    refuse = partial(report, runtime, MODEL_STATE)
    model.announce(runtime, Orders(runtime.ledger.redis, runtime.ring, model.name, refuse))
    answers = follow(make_guardrail(settings.security, prompts=False), runtime)
    return {GENERATE_LOCAL: local_generator(model.engine, answers)}


def _train(settings: Settings, runtime: Runtime) -> dict[str, Body]:
    local = settings.local
    bases = Bases(cache=local.cache_directory, source=local.base_model_path)
    return {TRAIN: trainer(local.adapter_directory or SHIPPED, bases)}


KINDS = {
    kind.name: kind
    for kind in (
        Kind("guardrail", Role.GUARDRAIL, (GUARDRAIL,), "threads", 2, _guardrail),
        Kind("router", Role.ROUTER, (ROUTER,), "threads", 2, _router),
        Kind("gpu", Role.GPU, (GPU,), "threads", 0, _gpu),
        Kind("train", Role.TRAIN, (TRAINING,), "threads", 1, _train),
        Kind("upkeep", None, (UPKEEP,), "threads", 1, _upkeep),
    )
}


def build(kind: Kind, settings: Settings, bodies: Bodies | None = None) -> Celery:
    """The Celery app of a kind of worker with its stations; `bodies` stand in for the kind's own."""
    app, runtime = assemble(kind.name, kind.role, settings)
    app.conf.worker_consumer = "tasks.consumer:DiscreetConsumer"
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "tasks.transport:KnowingTransport"))
    app.steps["consumer"].add(EventStep)
    install(app, runtime, (bodies or kind.bodies)(settings, runtime))
    return app
