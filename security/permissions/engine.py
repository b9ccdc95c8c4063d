"""The policies: Cedar files that are proved against the schema before they are used, and what they say of a case."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import cedarpy
from cedarpy import pst

from security.permissions.cases import Case
from security.permissions.grants import Grant
from security.permissions.paths import ROOT, canonical
from security.permissions.resources import Entity, Uid, checked, model
from security.permissions.rulings import Policy, Ruling
from security.permissions.statements import statements
from switchtower.errors import PolicyError, Refusal

BUILT_IN = Path(__file__).parent / "policies"
SCHEMA = Path(__file__).parent / "schema.cedarschema"
MAX_EXPLANATION = 300
_log = logging.getLogger(__name__)


class PolicyPack:
    """The built-in policies and a deployment's own, read and proved as a whole; it never changes."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self.policies = {policy.id: policy for policy in policies}
        text = "\n".join(policy.text for policy in self.policies.values())
        self._set = cedarpy.PolicySet.from_str(text)
        self.version = _version(self.policies.values())

    @classmethod
    def load(cls, paths: Iterable[Path] = ()) -> Self:
        """Read the built-in policies, these files, and all `*.cedar` of these folders.

        Raises `PolicyError` naming file, line and reason.
        """
        found: dict[str, Policy] = {}
        for file in _files((BUILT_IN, *paths)):
            for policy in _read(file):
                if policy.id in found:
                    raise PolicyError(
                        f"{policy.place}: policy `{policy.id}` is already defined at {found[policy.id].place}"
                    )
                found[policy.id] = policy
        return cls(found.values())

    def rule(self, case: Case, grant: Grant | None = None) -> Ruling:
        """What the policies say of the case, with that grant if there is one; whatever goes wrong denies."""
        try:
            answer = self._asked(case, grant)
        except (ValueError, TypeError, KeyError) as error:
            return _failed(type(error).__name__, (str(error),))
        if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
            # Cedar leaves out a policy that fails, also one that forbids; here nothing is permitted then.
            return _failed("errors", tuple(answer.diagnostics.errors) or ("no decision",))
        named = answer.diagnostics.id_annotations_by_reason
        decided = sorted(named[one] for one in answer.diagnostics.reasons)
        return Ruling(answer.allowed, tuple(self.policies[name] for name in decided))

    def _asked(self, case: Case, grant: Grant | None) -> cedarpy.AuthzResult:
        request = {
            "principal": {"type": "Model", "id": case.model},
            "action": {"type": "Action", "id": case.action},
            "resource": case.resource.uid.cedar(),
            "context": _circumstances(case, grant),
        }
        entities = cedarpy.Entities.from_json_str(json.dumps(list(_entities(case))), _schema())
        return cedarpy.is_authorized(request, self._set, entities, _schema())


@cache
def _schema() -> cedarpy.Schema:
    return cedarpy.Schema.from_str(SCHEMA.read_text(encoding="utf-8"))


def _failed(kind: str, errors: tuple[str, ...]) -> Ruling:
    _log.error("The policies failed on a case (%s); denied.", kind)
    return Ruling(allowed=False, errors=errors)


def _version(policies: Iterable[Policy]) -> str:
    """SHA-256 of the schema and of what the policies say, whatever their order, files and comments."""
    said = {policy.id: json.loads(cedarpy.policies_to_json_str(policy.text)) for policy in policies}
    whole = json.dumps([SCHEMA.read_text(encoding="utf-8"), said], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(whole.encode()).hexdigest()


# -- reading ------------------------------------------------------------------------------------


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(path.glob("*.cedar")) if path.is_dir() else [path]
        if not found:
            raise PolicyError(f"{path}: no `*.cedar` in this folder")
        yield from found


def _read(file: Path) -> Iterator[Policy]:
    try:
        source = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{file}:{line}: not UTF-8") from error
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror}") from error
    found = list(statements(source))
    if not found:
        raise PolicyError(f"{file}: no policy in this file")
    for statement in found:
        try:
            yield _proved(statement.text, f"{file}:{statement.line}")
        except ValueError as error:
            raise PolicyError(f"{file}:{statement.line}: {error}") from error


def _proved(text: str, place: str) -> Policy:
    """The one policy in this text; raises ValueError saying what is wrong with it."""
    parsed = cedarpy.policies_to_pst(text)
    if parsed.templates:
        raise ValueError("a template with ?principal or ?resource; write the policy out")
    node = parsed.static_policies["policy0"]
    name, explanation = node.annotations.get("id", ""), node.annotations.get("explanation", "")
    try:
        checked(name, "a policy")
    except Refusal:
        raise ValueError('the policy needs a name, as in @id("no-code-for-clouds")') from None
    if not 1 <= len(explanation.strip()) <= MAX_EXPLANATION:
        raise ValueError(f"policy `{name}` needs an @explanation of 1 to {MAX_EXPLANATION} characters")
    for uid in pst.entity_uids(node):
        _check_uid(name, uid)
    if wrong := cedarpy.validate_policies(text, _schema()).errors:
        raise ValueError(f"policy `{name}`: {_plain(wrong[0].error)}")
    return Policy(name, node.effect, explanation.strip(), place, text)


def _check_uid(policy: str, uid: pst.EntityUid) -> None:
    """Raise where a policy names what can never occur: it would be in force and do nothing."""
    kind, said = str(uid.type), uid.id
    try:
        right = _RIGHT.get(kind, str)(said)
    except Refusal as error:
        raise ValueError(f"policy `{policy}`: {kind}::{json.dumps(said)}: {error}") from None
    if right != said:
        raise ValueError(f"policy `{policy}`: write {kind}::{json.dumps(right)}, not {kind}::{json.dumps(said)}")


def _right_path(said: str) -> str:
    return ROOT if said == ROOT else canonical(said)


def _right_scope(said: str) -> str:
    scope, _, tenant = said.partition("@")
    return f"{checked(scope, 'a scope, as in handbook@acme')}@{checked(tenant, 'a tenant, as in handbook@acme')}"


_RIGHT: dict[str, Callable[[str], str]] = {
    "Path": _right_path,
    "Scope": _right_scope,
    "Model": lambda said: checked(said, "a model"),
    "Sandbox": lambda said: checked(said, "an isolation class"),
    "Tenant": lambda said: checked(said, "a tenant"),
    "User": lambda said: checked(said, "a user"),
}


def _plain(error: str) -> str:
    return error.removeprefix("for policy `policy0`").lstrip(",: ")


# -- asking -------------------------------------------------------------------------------------


def _entities(case: Case) -> Iterator[dict[str, Any]]:
    """Every thing that the case speaks of, once."""
    user = Entity(Uid("User", case.user), (Uid("Tenant", case.tenant),))
    given = (model(case.model, case.groups), user, *case.resource.entities)
    yield from {entity.uid: entity.cedar() for entity in given}.values()


def _circumstances(case: Case, grant: Grant | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "now": _moment(case.now),
        "tainted": case.tainted,
        "tenant": _ref("Tenant", case.tenant),
        "user": _ref("User", case.user),
        "job": _ref("Job", case.job),
    }
    return facts if grant is None else facts | {"grant": _grant(grant)}


def _grant(grant: Grant) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": _ref("Model", grant.model),
        "tenant": _ref("Tenant", grant.tenant),
        "expires": _moment(grant.expires),
        "tainted": grant.tainted,
    }
    return facts if grant.bound is None else facts | {"job": _ref("Job", grant.bound)}


def _ref(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}


def _moment(at_ms: int) -> dict[str, Any]:
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return {"__extn": {"fn": "datetime", "arg": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"}}
