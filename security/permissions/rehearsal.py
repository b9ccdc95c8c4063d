"""Trying a request out: the decision that would be made now, with nothing stored, counted, asked or used up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from security.permissions.cases import Case
from security.permissions.decisions import Draft
from security.permissions.engine import PolicyPack
from security.permissions.grants import Grant
from security.permissions.judgement import judge
from security.permissions.resources import Groups
from switchtower.errors import PathEscapes, PermissionRefused
from switchtower.messages import PermissionDecision, PermissionRequest, now_ms


def rehearse(
    policies: PolicyPack,
    request: PermissionRequest,
    groups: Groups,
    grants: Callable[[Case], Iterable[Grant]] = lambda _: (),
) -> PermissionDecision:
    """The decision on a request, the lockdown aside; a pending one names the question that a human would be asked."""
    draft = Draft(request, request.tainted, policies.version)
    try:
        case = Case.of(request, request.tainted, groups, now_ms())
    except (PathEscapes, PermissionRefused) as error:
        return draft.denied(str(error))
    draft.resource = case.resource.uid.id
    found = judge(policies, case, grants, use=lambda _: True)
    if found.answer == "granted":
        return draft.granted(found.ruling, case.now, found.grant)
    if found.answer == "asked":
        return draft.asking(found.ruling, case.question)
    return draft.denied(": ".join((found.ruling.reason, *found.ruling.errors)), found.ruling)
