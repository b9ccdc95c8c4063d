"""What a request is about, as the policies see it: a thing and everything that it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from security.permissions.paths import canonical, lineage
from switchtower.errors import PermissionRefused
from switchtower.models import Capability, ModelCard, Name, Provider

Groups = Callable[[str], frozenset[str]]
"""The groups of a model, by its name."""

_NAME = TypeAdapter(Name)


@dataclass(frozen=True)
class Uid:
    """How Cedar names a thing."""

    type: str
    id: str

    def cedar(self) -> dict[str, str]:
        return {"type": self.type, "id": self.id}


@dataclass(frozen=True)
class Entity:
    """A thing and what it is directly in."""

    uid: Uid
    parents: tuple[Uid, ...] = ()

    def cedar(self) -> dict[str, Any]:
        return {"uid": self.uid.cedar(), "attrs": {}, "parents": [parent.cedar() for parent in self.parents]}


@dataclass(frozen=True)
class Resource:
    """The thing itself first, then what it is in."""

    entities: tuple[Entity, ...]

    @property
    def uid(self) -> Uid:
        return self.entities[0].uid

    def is_in(self, name: str) -> bool:
        """Whether it is the file or folder of this canonical path, or lies beneath it."""
        return any(entity.uid == Uid("Path", name) for entity in self.entities)


class Group(StrEnum):
    """What a model is in: `known` while its card is known, and one of `local` and `cloud`."""

    KNOWN = "known"
    LOCAL = "local"
    CLOUD = "cloud"
    ADAPTER = "adapter"


def groups_of(card: ModelCard | None) -> frozenset[str]:
    """The groups of a model with this card; a model without one is in none."""
    if card is None:
        return frozenset()
    home = Group.LOCAL if card.provider is Provider.LOCAL else Group.CLOUD
    return frozenset({Group.KNOWN, home} | ({Group.ADAPTER} if card.adapter else set()))


def model(name: str, groups: Iterable[str]) -> Entity:
    """A model in its groups."""
    return Entity(Uid("Model", name), tuple(Uid("Group", group) for group in sorted(groups)))


def resolve(action: str, text: str, tenant: str, groups: Groups) -> Resource:
    """What the text of a request names; raises `PathEscapes` or `PermissionRefused`."""
    if action in ("file_read", "file_write"):
        return _path(text)
    if action == "search":
        return _scope(text, tenant)
    if action == "execute":
        return Resource((Entity(Uid("Sandbox", checked(text, "an isolation class"))),))
    if action == "delegate":
        return _target(text, groups)
    raise PermissionRefused("no policy knows this action")


def checked(text: str, what: str) -> str:
    """The text, if it is a name; raises `PermissionRefused` saying of what."""
    try:
        return _NAME.validate_python(text)
    except ValidationError:
        raise PermissionRefused(f"this is not the name of {what}") from None


def _path(text: str) -> Resource:
    chain = lineage(canonical(text))
    above = ((parent,) for parent in chain[1:])
    pairs = zip(chain, (*above, ()), strict=True)
    return Resource(tuple(Entity(Uid("Path", name), tuple(Uid("Path", one) for one in up)) for name, up in pairs))


def _scope(text: str, tenant: str) -> Resource:
    """A scope of the asking tenant, or `scope@tenant`."""
    scope, _, other = text.partition("@")
    owner = checked(other, "a tenant") if "@" in text else tenant
    name = f"{checked(scope, 'a scope')}@{owner}"
    return Resource((Entity(Uid("Scope", name), (Uid("Tenant", owner),)),))


def _target(text: str, groups: Groups) -> Resource:
    if text in set(Capability):
        return Resource((Entity(Uid("Capability", text)),))
    return Resource((model(checked(text, "a model"), groups(text)),))
