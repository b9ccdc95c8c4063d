"""What may hang on a job in Celery's terms: chords, links and tasks after it, all of them somebody else's.

Celery's headers are not sealed, and a worker sends what they ask for with its own rights. So a station
forwards nothing that it received: it makes the rest of the chain anew from the line's table, and puts
back only what this module has read: plain tasks of others, for queues of others, after the review.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery

from switchtower.errors import MalformedEnvelope
from switchtower.queues import REVIEW, TRAIN, is_own
from tasks.line import LINE, rest

MOST = 100
"""So many tasks may hang on one job; each of them gets the whole answer sent."""

_QUEUE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_LONGEST = 255
_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
_OURS = ("switchtower.", "celery.")
_CELERYS = ("celeryev", "pidbox", "_kombu", "unacked")
_KEPT = {"task_id": str, "group_id": str, "group_index": int, "queue": str, "exchange": str, "routing_key": str}
_KEPT |= {"priority": int, "ignore_result": bool}
_DROPPED = {"reply_to", "root_id", "parent_id", "argsrepr", "kwargsrepr", "replaced_task_nesting", "chord_size"}
_DROPPED |= {"stamped_headers", "link", "link_error"}  # the last two are read on their own

Foreign = dict[str, Any]
"""A signature of somebody else's, made anew from what was read."""


@dataclass(frozen=True)
class Canvas:
    """What follows a job once it has been reviewed, and whom to tell if it fails."""

    links: Sequence[Foreign] = ()
    errbacks: Sequence[Foreign] = ()
    tail: Sequence[Foreign] = ()
    chord: Foreign | None = None
    group: str | None = None
    index: int | None = None

    def steps(self, app: Celery, job: str, wire: str) -> list[dict[str, Any]]:
        """The chain after a station, as Celery wants it: the last one first."""
        steps = [dict(one) for one in rest(app, job, wire)]
        for step in steps:
            step["options"] |= {"link_error": list(self.errbacks)} if self.errbacks else {}
        if steps:
            steps[-1]["options"] |= self._options()
        return [*steps, *self.tail][::-1]

    def _options(self) -> dict[str, Any]:
        wanted = {"link": list(self.links), "chord": self.chord, "group_id": self.group, "group_index": self.index}
        return {name: value for name, value in wanted.items() if value not in (None, [])}

    def embed(self, app: Celery, job: str, wire: str) -> dict[str, Any]:
        """The part of a task message that says what comes after it."""
        final = wire == REVIEW
        return {
            "callbacks": list(self.links) if final else None,
            "errbacks": list(self.errbacks) or None,
            "chain": self.steps(app, job, wire),
            "chord": self.chord if final else None,
            "canvas": self.stored(),
        }

    def stored(self) -> str:
        """As JSON for the ledger, so that a message that is published again has it; empty for most jobs."""
        if not (self.links or self.errbacks or self.tail or self.chord):
            return ""
        options = self._options() | ({"link_error": list(self.errbacks)} if self.errbacks else {})
        return json.dumps([*reversed(self.tail), {"task": REVIEW, "options": options}])


def read(embed: Any, headers: dict[str, Any], wire: str, queues: Sequence[str]) -> Canvas:
    """What hangs on the job of a message to a station; raises `MalformedEnvelope` for what may not hang there.

    `queues` are those that others may be called on; where none is named, all that are not the line's.
    """
    reader = _Reader(frozenset(queues))
    said = _mapping(embed or {}, "the message's third part")
    steps = [_mapping(step, "a step of the chain") for step in reversed(_list(said.get("chain"), "the chain"))]
    own = [step for step in steps if step.get("task") in LINE]
    if any(step.get("task") in LINE for step in steps[len(own) :]):
        raise MalformedEnvelope("the chain leads back to the line")
    last: dict[str, Any] = next((_options(step) for step in own if step["task"] == REVIEW), {})
    if wire == TRAIN and steps:
        raise MalformedEnvelope("nothing may follow a training")
    early = [_options(step) for step in own if step["task"] != REVIEW]
    here = {"link": said.get("callbacks"), "chord": said.get("chord")}
    if wire == REVIEW:
        here |= {"group_id": headers.get("group"), "group_index": headers.get("group_index")}
        last = {name: value for name, value in here.items() if value is not None} | last
    else:
        early.append(here)
    if any(one.get("link") or one.get("chord") for one in early):
        raise MalformedEnvelope("something would follow a station whose outcome was not reviewed")
    return Canvas(
        links=reader.all(last.get("link")),
        errbacks=reader.all(said.get("errbacks") or last.get("link_error")),
        tail=[reader.task(step) for step in steps[len(own) :]],
        chord=reader.body(last["chord"]) if last.get("chord") else None,
        group=_typed(last.get("group_id"), str, "group_id"),
        index=_typed(last.get("group_index"), int, "group_index"),
    )


class _Reader:
    """Reads signatures, and counts them."""

    def __init__(self, queues: frozenset[str]) -> None:
        self._queues = queues
        self._left = MOST

    def all(self, signatures: Any) -> list[Foreign]:
        """Every signature of a list of links."""
        listed = [signatures] if isinstance(signatures, dict) else _list(signatures, "a list of links")
        return [self.body(one) for one in listed]

    def body(self, signature: Any) -> Foreign:
        """A plain task, or a chain of plain tasks."""
        said = _mapping(signature, "a callback")
        if said.get("subtask_type") != "chain":
            return self.task(said)
        tasks = _list(_mapping(said.get("kwargs"), "a chain's arguments").get("tasks"), "a chain's tasks")
        return {
            "task": "celery.chain",
            "args": [],
            "kwargs": {"tasks": [self.task(_mapping(one, "a task")) for one in tasks]},
            "options": self._options(said, with_place=False),
            "subtask_type": "chain",
            "immutable": said.get("immutable") is True,
        }

    def task(self, said: dict[str, Any]) -> Foreign:
        """One plain task of somebody else's, for a queue of somebody else's."""
        self._left -= 1
        if self._left < 0:
            raise MalformedEnvelope(f"more than {MOST} tasks hang on one job")
        name = said.get("task")
        if said.get("subtask_type") or not isinstance(name, str) or not _TASK.fullmatch(name) or name.startswith(_OURS):
            raise MalformedEnvelope("only plain tasks of your own may hang on a job")
        return {
            "task": name,
            "args": _list(said.get("args"), "a callback's arguments"),
            "kwargs": _mapping(said.get("kwargs") or {}, "a callback's arguments"),
            "options": self._options(said, with_place=True),
            "subtask_type": None,
            "immutable": said.get("immutable") is True,
        }

    def _options(self, said: dict[str, Any], with_place: bool) -> dict[str, Any]:
        given = _options(said)
        if unknown := given.keys() - _KEPT.keys() - _DROPPED:
            raise MalformedEnvelope(f"a callback with an option that is not forwarded: {min(unknown)[:64]}")
        kept = {name: _typed(given.get(name), kind, name) for name, kind in _KEPT.items()}
        kept |= {name: self.all(given[name]) for name in ("link", "link_error") if given.get(name)}
        if with_place:
            self._check_place(kept)
        return {name: value for name, value in kept.items() if value is not None}

    def _check_place(self, options: dict[str, Any]) -> None:
        """Where a callback goes must be said, and be neither the line's nor Celery's own."""
        named = [options["queue"]] if options["queue"] else [options["exchange"], options["routing_key"]]
        if not all(isinstance(name, str) and self._foreign(name) for name in named):
            raise MalformedEnvelope("a callback must name a queue of your own (broker.extra_queues)")

    def _foreign(self, name: str) -> bool:
        if self._queues:
            return name in self._queues
        return bool(_QUEUE.fullmatch(name)) and not is_own(name) and not any(word in name for word in _CELERYS)


def _options(said: dict[str, Any]) -> dict[str, Any]:
    return _mapping(said.get("options") or {}, "a signature's options")


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedEnvelope(f"{what} is not an object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list | None):
        raise MalformedEnvelope(f"{what} is not a list")
    return value or []


def _typed(value: Any, kind: type, name: str) -> Any:
    if value is not None and (type(value) is not kind or len(str(value)) > _LONGEST):
        raise MalformedEnvelope(f"{name} is not of the right type")
    return value
