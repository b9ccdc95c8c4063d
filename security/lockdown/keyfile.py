"""An operator's private key behind a password that never leaves the terminal.

The key that encrypts it is drawn from the password with Argon2id (RFC 9106; passes and lanes of its second
recommended option, 64 MiB unless the settings say more), and encrypts with ChaCha20-Poly1305 (RFC 8439). The
parameters stand in the file and are authenticated with it.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import Base64Bytes, Field, TypeAdapter, ValidationError

from security.lockdown.memory import write_private
from switchtower.envelope import Role, Signer
from switchtower.errors import ConfigurationError, ReleaseRefused
from switchtower.models import Frozen, Name

MIN_PASSWORD = 12
"""Characters; NIST SP 800-63B-4 asks for eight where a second factor stands beside."""
_SALT_BYTES, _KEY_BYTES, _NONCE_BYTES = 16, 32, 12


class Cost(Frozen):
    """What one guess at the password costs."""

    kind: Literal["argon2id"] = "argon2id"
    memory_kib: int = Field(default=65_536, ge=8192, le=4_194_304)
    passes: int = Field(default=3, ge=1, le=100)
    lanes: int = Field(default=4, ge=1, le=64)


OperatorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""It names files, so it holds no slash."""
_NAME: TypeAdapter[str] = TypeAdapter(OperatorName)


class LockedKey(Frozen):
    """The file: everything but the password."""

    name: OperatorName
    kid: Name
    cost: Cost
    salt: Base64Bytes
    nonce: Base64Bytes
    sealed: Base64Bytes

    @classmethod
    def lock(cls, name: str, signer: Signer, password: str, cost: Cost) -> LockedKey:
        """Encrypt the signer's private key; raises `ConfigurationError` for a bad name or a short password."""
        check_name(name)
        check_password(password)
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        key = _stretch(password, salt, cost)
        sealed = ChaCha20Poly1305(key).encrypt(nonce, signer.key.private_bytes_raw(), _bound(name, signer.kid, cost))
        encoded = {"salt": salt, "nonce": nonce, "sealed": sealed}
        return cls(
            name=name, kid=signer.kid, cost=cost, **{part: base64.b64encode(value) for part, value in encoded.items()}
        )

    @classmethod
    def load(cls, path: Path) -> LockedKey:
        """Read the file; raises `ConfigurationError` where it is missing or damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ConfigurationError(f"no operator's key at {path}; `switchtower operator create` makes one") from None
        except ValidationError:
            raise ConfigurationError(f"{path} is not an operator's key") from None

    def save(self, path: Path) -> Path:
        """Write the file, readable by its owner only."""
        write_private(path, self.model_dump_json(indent=1))
        return path

    def unlock(self, password: str) -> Signer:
        """The operator's signer; raises `ReleaseRefused` where the password does not open the key."""
        key = _stretch(password, self.salt, self.cost)
        try:
            seed = ChaCha20Poly1305(key).decrypt(self.nonce, self.sealed, _bound(self.name, self.kid, self.cost))
        except InvalidTag:
            raise ReleaseRefused(f"the password does not open the key of {self.name}") from None
        return Signer(self.kid, Role.OPERATOR, Ed25519PrivateKey.from_private_bytes(seed))


def check_name(name: str) -> str:
    """The name; raises `ConfigurationError` where it is none for an operator."""
    try:
        return _NAME.validate_python(name)
    except ValidationError:
        raise ConfigurationError("an operator's name has 1 to 64 letters, digits and ._-") from None


def check_password(password: str) -> None:
    """Raise `ConfigurationError` for a password that is too short to protect a key."""
    if len(password) < MIN_PASSWORD:
        raise ConfigurationError(f"the password has {len(password)} characters; it takes at least {MIN_PASSWORD}")


def random_password() -> str:
    """A password that nobody has to remember."""
    return secrets.token_urlsafe(24)


def _bound(name: str, kid: str, cost: Cost) -> bytes:
    """What the encryption vouches for beside the key itself."""
    return f"{name}\n{kid}\n{cost.model_dump_json()}".encode()


def _stretch(password: str, salt: bytes, cost: Cost) -> bytes:
    from argon2.low_level import Type, hash_secret_raw  # only who locks or unlocks a key pays for it

    return hash_secret_raw(
        secret=password.encode(),
        salt=salt,
        time_cost=cost.passes,
        memory_cost=cost.memory_kib,
        parallelism=cost.lanes,
        hash_len=_KEY_BYTES,
        type=Type.ID,
    )


def key_path(folder: Path, operator: str | None) -> Path:
    """The file of this operator's key, or of the only one; raises `ConfigurationError` where several lie there."""
    if operator:
        return folder / f"{check_name(operator)}.key"
    paths = sorted(folder.glob("*.key"))
    if len(paths) > 1:
        names = ", ".join(path.stem for path in paths)
        raise ConfigurationError(f"the keys of {names} lie in {folder}; say which with --operator")
    return paths[0] if paths else folder / "operator.key"
