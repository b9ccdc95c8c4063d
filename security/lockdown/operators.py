"""The operators: who may release, by the controller's own list, and how their codes are checked.

The controller keeps each operator's public key and the secret of the one-time codes (TOTP, RFC 6238). The
operator's private key is a file of its own, which may be carried to another machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pyotp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, ValidationError
from pyotp.exceptions import OTPVerificationError

from security.lockdown.keyfile import Cost, LockedKey, OperatorName
from security.lockdown.memory import write_private
from security.lockdown.places import keys_folder, operators_folder
from switchtower.envelope import RING, KeyRing, Role, Signer
from switchtower.errors import ConfigurationError
from switchtower.messages import Millis, now_ms
from switchtower.models import Frozen, Name
from switchtower.settings import Settings

_ISSUER = "Switchtower"
_STEP_S = 30
_DRIFT = 1
"""Steps that a clock may be off by, as RFC 6238, section 5.2 recommends at most."""


class Operator(Frozen):
    """What the controller knows of one operator."""

    name: OperatorName
    kid: Name
    public: str = Field(pattern=r"^[0-9a-f]{64}$")
    secret: str = Field(repr=False)
    step_s: int = Field(default=_STEP_S, gt=0, le=120)
    created: Millis

    @property
    def totp(self) -> pyotp.TOTP:
        return pyotp.TOTP(self.secret, interval=self.step_s)

    @property
    def uri(self) -> str:
        """What an authenticator reads out of the QR code."""
        return str(self.totp.provisioning_uri(name=self.name, issuer_name=_ISSUER))

    def step_of(self, code: str) -> int | None:
        """The time step that the code belongs to, the present one and its neighbours tried; nothing for a wrong one."""
        try:
            return self.totp.verify_and_get_timecode(code, valid_window=_DRIFT)
        except OTPVerificationError:
            return None

    def step_now(self) -> int:
        return int(time.time() / self.step_s)


def prepare(name: str, password: str, settings: Settings, step_s: int = _STEP_S) -> tuple[Operator, LockedKey]:
    """A new operator who is not on the list yet; raises `ConfigurationError` for a bad name or password."""
    signer = Signer.create(Role.OPERATOR)
    locked = LockedKey.lock(name, signer, password, Cost(memory_kib=settings.lockdown.argon2_memory_kib))
    public = signer.key.public_key().public_bytes_raw().hex()
    operator = Operator(
        name=name, kid=signer.kid, public=public, secret=pyotp.random_base32(), step_s=step_s, created=now_ms()
    )
    return operator, locked


def admit_operator(operator: Operator, locked: LockedKey, settings: Settings) -> Path:
    """Put the operator on the controller's list and into the ring; returns where the locked key was written.

    An older one of the same name is gone from both.
    """
    older = [one for one in known(operators_folder(settings)) if one.name == operator.name]
    path = locked.save(keys_folder(settings) / f"{operator.name}.key")
    _rewrite_ring(settings, add=[operator], drop=older)
    write_private(operators_folder(settings) / f"{operator.name}.json", operator.model_dump_json(indent=1))
    return path


def revoke(name: str, settings: Settings) -> Operator:
    """Take an operator off the list and out of the ring, and delete the locked key where it lies here."""
    operator = find(name, settings)
    (operators_folder(settings) / f"{name}.json").unlink()
    (keys_folder(settings) / f"{name}.key").unlink(missing_ok=True)
    _rewrite_ring(settings, drop=[operator])
    return operator


def find(name: str, settings: Settings) -> Operator:
    """The operator of this name; raises `ConfigurationError` where there is none."""
    for operator in known(operators_folder(settings)):
        if operator.name == name:
            return operator
    raise ConfigurationError(f"no operator {name!r}; `switchtower operator list` names them")


def known(folder: Path) -> list[Operator]:
    """All operators on the list, by name; raises `ConfigurationError` where an entry is damaged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Operator.model_validate_json(path.read_bytes()))
        except (ValidationError, OSError):
            raise ConfigurationError(f"{path} is not an operator; revoke and create that operator anew") from None
    return found


def ring_of(operators: Sequence[Operator]) -> KeyRing:
    """The keys that requests to release may be sealed with: those of the list, whatever the shared ring says."""
    publics = {one.kid: Ed25519PublicKey.from_public_bytes(bytes.fromhex(one.public)) for one in operators}
    return KeyRing({kid: (Role.OPERATOR, key) for kid, key in publics.items()})


def _rewrite_ring(settings: Settings, add: Sequence[Operator] = (), drop: Sequence[Operator] = ()) -> None:
    """Let the shared ring follow the list, so that others can check what operators sign."""
    folder = settings.security.keys_directory
    ring = KeyRing.load(folder) if (folder / RING).exists() else KeyRing({})
    for operator in drop:
        ring.remove(operator.kid)
    ring.join(ring_of(add))
    ring.save(folder)
