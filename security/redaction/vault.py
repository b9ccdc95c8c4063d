"""The vault: what stood where the placeholders of a job stand now, for the guardrail's eyes only.

One Redis string per job, which ends with the job's deadline. Whoever redacts a request writes it: an envelope that the
writer's role seals, encrypted for the guardrail that let the request pass. A writer cannot read it again.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field
from redis import Redis

from security.redaction.sealing import Unreadable, decrypt, encrypt
from switchtower.envelope import parse
from switchtower.errors import EnvelopeRefused
from switchtower.messages import Envelope, Message, now_ms
from switchtower.queues import key

VAULT = "switchtower.vault"
"""The wire name that vaults are sealed for; no task bears it."""
MAX_CHARS = 16 << 20


class Entries(Message):
    """The values of a job's placeholders, and the guardrail's sealed proof of the request that they come from."""

    kind: Literal["entries"] = "entries"
    values: dict[str, str] = Field(min_length=1)
    screened: Envelope


class VaultLost(Exception):
    """The job's vault is gone, not to be opened, or not what the line has written."""


def vault_key(job: str) -> str:
    """Where a job's vault lies."""
    return key("vault", job)


class Vault:
    """The vaults of one broker."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def put(self, sealed: Envelope, reader: Ed25519PublicKey) -> None:
        """Store sealed entries for the reader, for as long as their envelope is good."""
        box = encrypt(sealed.model_dump_json().encode(), reader, _purpose(sealed.job))
        left = max(1, sealed.exp - now_ms())
        self._redis.set(vault_key(sealed.job), base64.b64encode(box).decode(), px=left)

    def take(self, job: str, reader: Ed25519PrivateKey) -> Envelope:
        """The envelope of the job's entries, not verified yet; raises `VaultLost`. It stays for a second try."""
        stored = self._redis.get(vault_key(job))
        if stored is None:
            raise VaultLost("it is not there")
        try:
            box = decrypt(base64.b64decode(str(stored), validate=True), reader, _purpose(job))
            return parse(json.loads(box), MAX_CHARS)
        except (Unreadable, EnvelopeRefused, binascii.Error, ValueError) as error:
            raise VaultLost(f"it cannot be opened ({type(error).__name__})") from None


def _purpose(job: str) -> str:
    return f"{VAULT} {job}"
