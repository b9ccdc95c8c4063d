"""Encrypts for one Ed25519 key what only its owner may read.

HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305) for the X25519 key that belongs to the Ed25519 key,
by the map between the two curves (RFC 7748, section 4.1), as in age and libsodium. One key pair may serve both
(Thormarker, IACR ePrint 2021/509), so that no further key has to be made, kept and handed out.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_PRIME = 2**255 - 19


class Unreadable(Exception):
    """The bytes were not encrypted for this key and purpose, or were changed."""


def encrypt(plain: bytes, reader: Ed25519PublicKey, purpose: str) -> bytes:
    """The bytes for the reader's eyes; `purpose` is bound to them, so that they open in no other place."""
    return _SUITE.encrypt(plain, public(reader), purpose.encode())


def decrypt(sealed: bytes, key: Ed25519PrivateKey, purpose: str) -> bytes:
    """The bytes that were encrypted for this key and purpose; raises `Unreadable`."""
    try:
        return _SUITE.decrypt(sealed, private(key), purpose.encode())
    except InvalidTag:
        raise Unreadable from None


def public(key: Ed25519PublicKey) -> X25519PublicKey:
    """The Montgomery form of an Edwards point: u = (1 + y) / (1 - y)."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & (2**255 - 1)
    u = (1 + y) * pow(1 - y, -1, _PRIME) % _PRIME
    return X25519PublicKey.from_public_bytes(u.to_bytes(32, "little"))


def private(key: Ed25519PrivateKey) -> X25519PrivateKey:
    """The same secret scalar, which Ed25519 takes from the hash of its seed (RFC 8032, section 5.1.5)."""
    return X25519PrivateKey.from_private_bytes(hashlib.sha512(key.private_bytes_raw()).digest()[:32])
