"""Making keys: one key per role, and the ring that everyone shares."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from switchtower.envelope import RING, KeyRing, Role, Signer

MACHINES = tuple(role for role in Role if role is not Role.OPERATOR)
"""The roles that processes have; an operator is a person, whose key lies behind a password."""


def create(directory: Path, roles: Iterable[Role] = MACHINES, ring_directory: Path | None = None) -> list[str]:
    """Make a key for each role that has none in the directory and add it to the ring; returns the new key ids.

    A second client gets a directory of its own and joins the deployment's ring.
    """
    shared = ring_directory or directory
    ring = KeyRing.load(shared) if (shared / RING).exists() else KeyRing({})
    made = [Signer.create(role) for role in roles if not (directory / f"{role}.key").exists()]
    for signer in made:
        signer.save(directory)
        ring.add(signer)
    if made:
        ring.save(shared)
    return [signer.kid for signer in made]
