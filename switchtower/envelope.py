"""Seal a message, open a sealed one, and keep the keys.

The signature (Ed25519, RFC 8032) covers the head: wire name, message id, job, role, key id, issue
and expiry time, nonce and the payload's SHA-256. The head is written as canonical JSON (RFC 8785;
it holds strings and integers only). The payload is hashed as the text that travels, as in JSON Web
Signature (RFC 7515), so that no two languages can disagree about its canonical form.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from switchtower.errors import (
    ConfigurationError,
    EnvelopeExpired,
    EnvelopeFromFuture,
    ForgedEnvelope,
    InvalidMessage,
    MalformedEnvelope,
    OversizedEnvelope,
    Retargeted,
    TamperedPayload,
    UnknownKey,
    UnknownVersion,
    WrongIdentity,
    WrongRole,
)
from switchtower.messages import Envelope, Message, now_ms

M = TypeVar("M", bound=Message)
VERSION = 1
SKEW_MS = 30_000
RING = "ring.json"


class Role(StrEnum):
    """Who may seal; each role has a key of its own."""

    CLIENT = "client"
    GUARDRAIL = "guardrail"
    ROUTER = "router"
    GPU = "gpu"
    TRAIN = "train"
    CLOUD = "cloud"
    CONTROLLER = "controller"
    OPERATOR = "operator"
    AUDITOR = "auditor"


def _signed_bytes(head: dict[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def payload_hash(payload: str) -> str:
    """The SHA-256 of the payload's UTF-8 text, in hex."""
    # A lone surrogate has no UTF-8: what it comes to here is the hash of no text at all.
    return hashlib.sha256(payload.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Signer:
    """One role's private key."""

    kid: str
    role: Role
    key: Ed25519PrivateKey

    @classmethod
    def create(cls, role: Role, kid: str | None = None) -> Signer:
        """A signer with a new random key."""
        return cls(kid or f"{role}-{secrets.token_hex(4)}", role, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, directory: Path, role: Role) -> Signer:
        """The role's signer, read from `<role>.key`; raises `ConfigurationError` where there is none."""
        path = directory / f"{role}.key"
        try:
            stored = json.loads(path.read_text())
            seed = base64.b64decode(stored["seed"], validate=True)
            return cls(stored["kid"], role, Ed25519PrivateKey.from_private_bytes(seed))
        except FileNotFoundError:
            raise ConfigurationError(
                f"no {role} key at {path}; run `switchtower up`, or `switchtower keys create`"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a key file: {error}") from error

    def save(self, directory: Path) -> Path:
        """Write the private key, readable by its owner only."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / f"{self.role}.key"
        seed = base64.b64encode(self.key.private_bytes_raw()).decode()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"kid": self.kid, "seed": seed}, file)
        return path

    def seal(self, message: Message, wire: str, identity: str, expires: int) -> Envelope:
        """The message in an envelope for one task and one message id, good until `expires` (ms)."""
        payload = message.model_dump_json()
        head: dict[str, Any] = {
            "v": VERSION,
            "wire": wire,
            "id": identity,
            "job": message.job,
            "role": str(self.role),
            "kid": self.kid,
            "iat": now_ms(),
            "exp": expires,
            "nonce": secrets.token_hex(16),
            "hash": payload_hash(payload),
        }
        sig = base64.b64encode(self.key.sign(_signed_bytes(head))).decode()
        return Envelope.model_construct(**head, payload=payload, sig=sig)


class KeyRing:
    """The public keys, each with the one role that it may seal for."""

    def __init__(self, keys: dict[str, tuple[Role, Ed25519PublicKey]]) -> None:
        self._keys = keys

    @classmethod
    def of(cls, *signers: Signer) -> KeyRing:
        return cls({signer.kid: (signer.role, signer.key.public_key()) for signer in signers})

    @classmethod
    def load(cls, directory: Path) -> KeyRing:
        """The ring at `ring.json`; raises `ConfigurationError` where it is missing or damaged."""
        path = directory / RING
        try:
            entries = json.loads(path.read_text())["keys"]
            return cls({entry["kid"]: (Role(entry["role"]), _public_key(entry["public"])) for entry in entries})
        except FileNotFoundError:
            raise ConfigurationError(
                f"no key ring at {path}; run `switchtower up`, or `switchtower keys create`"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a key ring: {error}") from error

    def add(self, signer: Signer) -> None:
        self._keys[signer.kid] = (signer.role, signer.key.public_key())

    def join(self, other: KeyRing) -> None:
        """Take another ring's keys in."""
        self._keys |= other._keys

    def remove(self, kid: str) -> None:
        """Take a key out; what it seals from now on is refused."""
        self._keys.pop(kid, None)

    def save(self, directory: Path) -> Path:
        """Write the ring as JSON; it holds nothing secret."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        entries = [
            {"kid": kid, "role": str(role), "public": base64.b64encode(key.public_bytes_raw()).decode()}
            for kid, (role, key) in self._keys.items()
        ]
        path, draft = directory / RING, directory / f"{RING}.{os.getpid()}"
        draft.write_text(json.dumps({"keys": entries}, indent=1))
        draft.replace(path)
        return path

    def key(self, envelope: Envelope) -> Ed25519PublicKey:
        """The public key that the envelope names, if it may seal for the envelope's role."""
        if envelope.kid not in self._keys:
            raise UnknownKey(f"no key {envelope.kid!r} in the key ring")
        role, key = self._keys[envelope.kid]
        if role != envelope.role:
            raise WrongRole(f"the key {envelope.kid!r} seals for {role}, not for {envelope.role!r}")
        return key


def _public_key(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))


def parse(raw: Any, limit: int) -> Envelope:
    """The envelope in a task's argument, shape checked and nothing else."""
    if not isinstance(raw, dict):
        raise MalformedEnvelope(f"expected one envelope, got {type(raw).__name__}")
    payload = raw.get("payload")
    if isinstance(payload, str) and len(payload) > limit:
        raise OversizedEnvelope(f"the payload has {len(payload)} characters, the limit is {limit}")
    if raw.get("v") != VERSION or type(raw["v"]) is not int:
        raise UnknownVersion(f"envelope version {str(raw.get('v'))[:16]!r}, this release reads {VERSION}")
    try:
        return Envelope.model_validate(raw, strict=True)
    except ValidationError as error:
        raise MalformedEnvelope(_without_values(error)) from None


def verify(envelope: Envelope, ring: KeyRing) -> None:
    """Raise unless a key of the ring sealed exactly this head and this payload."""
    head = envelope.model_dump(exclude={"payload", "sig"})
    try:
        sig = base64.b64decode(envelope.sig, validate=True)
        if base64.b64encode(sig).decode() != envelope.sig:
            raise ForgedEnvelope  # the last letter has spare bits; one signature has one spelling
        ring.key(envelope).verify(sig, _signed_bytes(head))
    except (InvalidSignature, ValueError):  # a seal that is no base64, or not even ASCII, among them
        raise ForgedEnvelope from None
    if payload_hash(envelope.payload) != envelope.hash:
        raise TamperedPayload


def admit(envelope: Envelope, ring: KeyRing, wire: str, identity: str, roles: Collection[Role]) -> None:
    """Raise unless the envelope is genuine, addressed to this task and id, in time, from one of the roles."""
    verify(envelope, ring)
    check_address(envelope, wire, identity, roles)
    check_time(envelope)


def check_address(envelope: Envelope, wire: str, identity: str, roles: Collection[Role]) -> None:
    """Raise unless the envelope is for this task and id, from one of the roles."""
    if envelope.wire != wire:
        raise Retargeted(f"sealed for {envelope.wire}, delivered to {wire}")
    if envelope.id != identity:
        raise WrongIdentity(f"sealed for message {envelope.id}, delivered as {identity[:64]}")
    if envelope.role not in roles:
        raise WrongRole(f"{envelope.role} may not hand work to {wire}")


def check_time(envelope: Envelope, clock: Callable[[], int] = now_ms) -> None:
    """Raise unless now lies between the envelope's issue and its expiry."""
    if envelope.exp <= clock():
        raise EnvelopeExpired
    if envelope.iat > clock() + SKEW_MS:
        raise EnvelopeFromFuture


def unpack(envelope: Envelope, takes: type[M]) -> M:
    """The typed message inside; raises `InvalidMessage` where it is not what the station takes."""
    try:
        message = takes.model_validate_json(envelope.payload)
    except ValidationError as error:
        raise _refused(error) from None
    if message.job != envelope.job:
        raise WrongIdentity(f"the payload is of job {message.job}, the envelope of {envelope.job}")
    return message


def _refused(error: ValidationError) -> InvalidMessage | UnknownVersion:
    if any(detail["loc"] == ("v",) for detail in error.errors(include_input=False, include_url=False)):
        return UnknownVersion(_without_values(error))
    return InvalidMessage(_without_values(error))


def _without_values(error: ValidationError) -> str:
    """Where and why, without what: an error's text may be logged, the payload may not."""
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{_place(detail)}: {detail['type']}" for detail in details[:5])


def _place(detail: ErrorDetails) -> str:
    """The path to a field; an unknown field's name is the sender's text and is left out."""
    known = detail["loc"][:-1] if detail["type"] == "extra_forbidden" else detail["loc"]
    return ".".join(map(str, known)) or "payload"
