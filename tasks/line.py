"""The one table of stations: follow a message from top to bottom.

    client ─► screen ─► route ─► generate.<provider> ─► review ─► result
    client ─► train ─► result

A station takes one typed message out of a sealed envelope and gives another, sealed in its own role's
name for the station that follows. `route` is replaced by the `generate` that it chose, so both share
one Celery message id; where the chosen model has too little memory, `route` comes again in its place.
A job enters at the top; wherever it breaks off, upkeep publishes the station's message again, as it
stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from celery import Celery, Signature

from switchtower.envelope import Role
from switchtower.messages import (
    Completion,
    JobResult,
    Message,
    RoutingDecision,
    Screened,
    TrainingReport,
    TrainingRequest,
    UserRequest,
)
from switchtower.models import Provider
from switchtower.queues import GENERATE_LOCAL, RESULT, REVIEW, ROUTE, SCREEN, SEALED, TRAIN, step_id


@dataclass(frozen=True)
class Station:
    """One row of the table: who hands work in, who seals it on, and where it goes next."""

    wire: str
    admits: AbstractSet[Role]
    takes: type[Message]
    gives: type[Message]
    seals_as: Role
    next: str
    """Where the outcome goes; `route` decides that itself."""

    @property
    def first(self) -> bool:
        """Whether jobs enter the line here."""
        return Role.CLIENT in self.admits

    @property
    def last(self) -> bool:
        """Whether the outcome is what the job was for."""
        return self.next == RESULT

    @property
    def slot(self) -> str:
        """The wire name that the message id is derived from: `generate` stands in `route`'s place."""
        return ROUTE if self.wire in GENERATORS.values() else self.wire


GENERATORS = {Provider.LOCAL: GENERATE_LOCAL}
"""Which station runs a provider's models."""

_TABLE = (
    #       wire            admits            takes                  gives            seals as        next
    Station(SCREEN,         {Role.CLIENT},    UserRequest,           Screened,        Role.GUARDRAIL, ROUTE),
    Station(ROUTE,          {Role.GUARDRAIL}, Screened[UserRequest], RoutingDecision, Role.ROUTER,    ""),
    Station(GENERATE_LOCAL, {Role.ROUTER},    RoutingDecision,       Completion,      Role.GPU,       REVIEW),
    Station(REVIEW,         {Role.GPU},       Completion,            JobResult,       Role.GUARDRAIL, RESULT),
    Station(TRAIN,          {Role.CLIENT},    TrainingRequest,       TrainingReport,  Role.TRAIN,     RESULT),
)  # fmt: skip

LINE = {station.wire: station for station in _TABLE}

_CHAIN = (SCREEN, ROUTE, REVIEW)
"""The Celery chain; the generators are not in it because `route` is replaced by one of them."""


def identity(job: str, wire: str) -> str:
    """The Celery message id of a job's message to a station (or of its result)."""
    return step_id(job, LINE[wire].slot if wire in LINE else wire)


def rest(app: Celery, job: str, wire: str) -> list[Signature]:
    """The signatures that follow a station in the chain."""
    if LINE[wire].slot not in _CHAIN:
        return []
    place = _CHAIN.index(LINE[wire].slot)
    shown = {"argsrepr": SEALED, "kwargsrepr": "{}"}
    return [app.signature(name, task_id=step_id(job, name), **shown) for name in _CHAIN[place + 1 :]]
