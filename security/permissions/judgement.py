"""From policies and grants to one of three answers: yes, no, or ask a human."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from security.permissions.cases import Case
from security.permissions.engine import PolicyPack
from security.permissions.grants import Grant, supposed
from security.permissions.rulings import Ruling


@dataclass(frozen=True)
class Judgement:
    """The answer, the ruling that explains it, and the grant that it rests on."""

    answer: Literal["granted", "denied", "asked"]
    ruling: Ruling
    grant: Grant | None = None


def judge(
    policies: PolicyPack, case: Case, grants: Callable[[Case], Iterable[Grant]], use: Callable[[Grant], bool]
) -> Judgement:
    """What holds of the case; `use` takes a grant, and says whether it could be had.

    Each ruling is the policies' own: without a grant, with the grant that a human would give if asked, and with
    each grant that was really given.
    """
    alone = policies.rule(case)
    if alone.allowed:
        return Judgement("granted", alone)
    agreed = policies.rule(case, supposed(case))
    if not agreed.allowed:
        return Judgement("denied", agreed)
    for grant in grants(case):
        given = policies.rule(case, grant)
        if given.allowed and use(grant):
            return Judgement("granted", given, grant)
    return Judgement("asked", alone if alone.policies else agreed)
