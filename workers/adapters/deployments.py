"""Which version of an adapter's family is live: one small file beside the adapters, and its history.

    intent-classification-v1/   intent-classification-v2/   …   deployments.json

A family is what stands before `-v<N>` in an adapter's name. Where the file says nothing of a family, its lowest
version is live, so that a version that was just trained never goes live by itself. What is not live can still be
asked for by its full name.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from switchtower.errors import AdapterError
from switchtower.messages import Millis, now_ms
from switchtower.models import Frozen, ModelCard, Name

FILE = "deployments.json"
KEPT = 100
"""So many changes of a family are remembered."""

_VERSION = re.compile(r"(?P<family>.+)-v(?P<version>[1-9][0-9]{0,8})")
_log = logging.getLogger(__name__)


class DeploymentsUnreadable(AdapterError):
    """The file of deployments cannot be read, so nothing is changed in it."""


class NothingToRollBack(AdapterError):
    """No earlier version of this family was live."""


class AlreadyLive(AdapterError):
    """The deployment would change nothing."""


class Serving(Frozen):
    """Who serves a family: the live version, and perhaps another one that gets a share of the traffic."""

    live: Name
    trial: Name | None = None
    share: float = Field(default=0.0, ge=0, lt=1, description="of the traffic, for the version on trial")

    def shares(self) -> dict[str, float]:
        """The share of each version that gets any."""
        trial = {self.trial: self.share} if self.trial and self.share else {}
        return {self.live: 1 - sum(trial.values()), **trial}


class Change(Frozen):
    """One entry of a family's history; `before` is what a rollback returns to."""

    at: Millis
    action: str
    before: Serving
    after: Serving
    reason: str = Field(default="", max_length=500)
    scores: dict[str, float] = Field(default={}, description="what the gate measured")


class Deployment(Frozen):
    """A family's present and past."""

    serving: Serving
    history: tuple[Change, ...] = ()


_Change = Callable[[Serving, Deployment | None], Serving]


class Deployments:
    """The deployments of one directory of adapters."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, Deployment] = {}
        self._said = ""

    def read(self) -> dict[str, Deployment]:
        """Every family that the file names; raises `DeploymentsUnreadable`."""
        try:
            written = json.loads((self._directory / FILE).read_bytes())
            return {family: Deployment.model_validate(one) for family, one in written["families"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeploymentsUnreadable(f"{self._directory / FILE}: {_told(error)}; mend it or remove it") from None

    def serving(self, family: str, names: Iterable[str]) -> Serving:
        """Who serves a family of these adapters."""
        return serving(self.read().get(family), family, names)

    def deploy(
        self, name: str, names: Iterable[str], share: float | None, reason: str, scores: Mapping[str, float]
    ) -> Serving:
        """Make a version live, or give it a share of its family's traffic beside the live one."""
        family, _ = family_of(name)

        def change(before: Serving, _: Deployment | None) -> Serving:
            if share is None:
                return Serving(live=name)
            return before if before.live == name else Serving(live=before.live, trial=name, share=share)

        return self._change(family, names, "deploy", change, reason, dict(scores))

    def rollback(self, family: str, names: Iterable[str], reason: str = "") -> Serving:
        """Return to what served the family before its last deployment; twice returns to the one before that."""

        def change(_: Serving, known: Deployment | None) -> Serving:
            return _earlier(family, known.history if known else ())

        return self._change(family, names, "rollback", change, reason, {})

    def _change(
        self, family: str, names: Iterable[str], action: str, change: _Change, reason: str, scores: dict[str, float]
    ) -> Serving:
        with _alone(self._directory):
            families = self.read()
            known = families.get(family)
            before = serving(known, family, names)
            after = change(before, known)
            if after == before:
                raise AlreadyLive(f"{family}: {before.live} is live already, and nothing would change")
            entry = Change(at=now_ms(), action=action, before=before, after=after, reason=reason, scores=scores)
            history = (*(known.history if known else ()), entry)[-KEPT:]
            _write(self._directory, families | {family: Deployment(serving=after, history=history)})
        return after

    def offered(self, cards: Iterable[ModelCard]) -> list[ModelCard]:
        """The cards as the router may see them: a version without a share is offered for nothing but its name.

        An unreadable file changes nothing: what was known of it before goes on.
        """
        self._look()
        found = list(cards)
        names = [card.name for card in found]
        return [self._offered(card, names) for card in found]

    def _look(self) -> None:
        """Read the file; what is amiss is logged once and not each time."""
        said = ""
        try:
            self._known = self.read()
        except DeploymentsUnreadable as error:
            said = str(error)
        if said and said != self._said:
            _log.warning("%s", said)
        self._said = said

    def _offered(self, card: ModelCard, names: list[str]) -> ModelCard:
        family, version = family_of(card.name)
        if version is None:
            return card
        share = serving(self._known.get(family), family, names).shares().get(card.name, 0.0)
        if not share:
            return card.model_copy(update={"family": family, "capabilities": frozenset()})
        return card.model_copy(update={"family": family, "share": share})


def family_of(name: str) -> tuple[str, int | None]:
    """An adapter's family and version; a name without a version is a family of its own."""
    match = _VERSION.fullmatch(name)
    return (match["family"], int(match["version"])) if match else (name, None)


def versions(family: str, names: Iterable[str]) -> list[str]:
    """A family's adapters, the lowest version first."""
    mine = [(family_of(name), name) for name in names]
    return [name for (own, version), name in sorted(mine, key=lambda one: one[0][1] or 0) if own == family]


def serving(known: Deployment | None, family: str, names: Iterable[str]) -> Serving:
    """What the file says, as far as its adapters are there; else the lowest version."""
    there = versions(family, names)
    if known and known.serving.live in there:
        trial_is_there = known.serving.trial is None or known.serving.trial in there
        return known.serving if trial_is_there else Serving(live=known.serving.live)
    if not there:
        raise AdapterError(f"there is no adapter of the family {family!r}")
    return Serving(live=there[0])


def _earlier(family: str, history: tuple[Change, ...]) -> Serving:
    """What served before the last deployment that no rollback has undone yet."""
    undone = 0
    for entry in reversed(history):
        if entry.action == "rollback":
            undone += 1
        elif undone:
            undone -= 1
        else:
            return entry.before
    raise NothingToRollBack(f"{family}: no deployment is left to roll back")


def _write(directory: Path, families: Mapping[str, Deployment]) -> None:
    """Replace the file, whole or not at all."""
    said = {family: one.model_dump(mode="json") for family, one in sorted(families.items())}
    handle, partial = tempfile.mkstemp(prefix=f".{FILE}.", dir=directory)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps({"families": said}, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # workers may run as another user
        os.replace(partial, directory / FILE)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One change at a time; the kernel lets go when the process dies."""
    with (directory / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}"
