"""Making keys: one key per role, and the ring that everyone shares."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from switchtower.envelope import RING, KeyRing, Role, Signer


def create(directory: Path, roles: Iterable[Role] = tuple(Role)) -> list[str]:
    """Make a key for each role that has none here and add it to the ring; returns the new key ids."""
    ring = KeyRing.load(directory) if (directory / RING).exists() else KeyRing({})
    made = [Signer.create(role) for role in roles if not (directory / f"{role}.key").exists()]
    for signer in made:
        signer.save(directory)
        ring.add(signer)
    if made:
        ring.save(directory)
    return [signer.kid for signer in made]
