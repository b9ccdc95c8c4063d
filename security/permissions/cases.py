"""One question to the policies."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from security.permissions.resources import Groups, Resource, resolve
from switchtower.messages import PermissionRequest


@dataclass(frozen=True)
class Case:
    """Who wants to do what to which thing, when, and in what circumstances; `now` is in milliseconds."""

    model: str
    groups: frozenset[str]
    action: str
    resource: Resource
    tenant: str
    user: str
    job: str
    tainted: bool
    now: int

    @classmethod
    def of(cls, request: PermissionRequest, tainted: bool, groups: Groups, now: int) -> Case:
        """The case of a request; raises `PathEscapes` or `PermissionRefused` where its resource is no name."""
        return cls(
            model=request.model,
            groups=groups(request.model),
            action=request.action,
            resource=resolve(request.action, request.resource, request.tenant, groups),
            tenant=request.tenant,
            user=request.user,
            job=request.job,
            tainted=tainted,
            now=now,
        )

    @property
    def question(self) -> str:
        """The id of the question to a human: the same for everyone in this job who asks the same (UUIDv5)."""
        parts = (self.model, self.action, self.resource.uid.id, self.tenant, self.user, str(self.tainted))
        return str(uuid.uuid5(uuid.UUID(self.job), "\n".join(parts)))
