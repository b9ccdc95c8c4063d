"""What is looked for in a text, and where it was found."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """A kind of private value, named as it stands in a placeholder; the more specific of two stands first."""

    TEXT = "TEXT"
    """What looks like a placeholder already."""
    SECRET = "SECRET"  # noqa: S105 - the name of a kind
    EMAIL = "EMAIL"
    WALLET = "WALLET"
    IBAN = "IBAN"
    CARD = "CARD"
    SSN = "SSN"
    PASSPORT = "PASSPORT"
    ID = "ID"
    """A national, tax or insurance number."""
    IP = "IP"
    MAC = "MAC"
    PHONE = "PHONE"
    BIRTHDATE = "BIRTHDATE"
    ADDRESS = "ADDRESS"
    PERSON = "PERSON"
    ORGANISATION = "ORGANISATION"
    PLACE = "PLACE"


_RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Entity(NamedTuple):
    """A private value at `start:end` of a text; `cued` when only the words before it gave it away."""

    start: int
    end: int
    kind: Kind
    cued: bool = False


def resolved(found: Iterable[Entity]) -> list[Entity]:
    """Entities that do not overlap, in order.

    Those that overlap become one that covers them all, so that no part of any of them stays; its kind is the most
    specific of theirs.
    """
    merged: list[Entity] = []
    for one in sorted(found):
        if merged and one.start < merged[-1].end:
            last = merged[-1]
            kind = min(last.kind, one.kind, key=_RANK.__getitem__)
            merged[-1] = Entity(last.start, max(last.end, one.end), kind, last.cued or one.cued)
        else:
            merged.append(one)
    return merged
