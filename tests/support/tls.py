"""A certificate authority of our own, and TLS in front of a server that has none."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from select import select

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"
_DAY = timedelta(days=1)
_CHUNK = 65_536


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates that nobody else trusts."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.file = _write(folder / f"{name}.pem", self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, host: str = HERE, age: timedelta = timedelta()) -> Pair:
        """A certificate for a host; one that is older than two days has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = (x509.SubjectAlternativeName([alternative]), False)
        issuer = (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
        signed = self._sign(subject, key, [names, issuer], age).public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(_write(self._folder / f"{name}.pem", signed), _write(self._folder / f"{name}.key", secret))

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[tuple[x509.ExtensionType, bool]],
        age: timedelta = timedelta(),
    ) -> x509.Certificate:
        begun = datetime.now(UTC) - _DAY - age
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(begun).not_valid_after(begun + 2 * _DAY)
        for extension, critical in [
            *extensions,
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@contextmanager
def terminator(port: int, pair: Pair, clients: Path | None = None) -> Iterator[int]:
    """TLS on a port of its own before the server on `port`; `clients` is the CA that callers must be known to."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server((HERE, 0))
    thread = threading.Thread(target=_serve, args=(listener, context, port), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):  # the listener was closed
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=_join, args=(caller, context, port), daemon=True).start()


def _join(caller: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Carry bytes both ways until one side ends; one thread, because an SSL object bears no second."""
    with suppress(OSError), context.wrap_socket(caller, server_side=True, do_handshake_on_connect=False) as outer:
        if not _shaken(outer):
            return
        with socket.create_connection((HERE, port)) as inner:
            while True:
                ready = [outer] if outer.pending() else select([outer, inner], [], [])[0]
                for source, drain in ((outer, inner), (inner, outer)):
                    if source in ready:
                        if not (chunk := source.recv(_CHUNK)):
                            return
                        drain.sendall(chunk)


def _shaken(outer: ssl.SSLSocket) -> bool:
    """Whether the handshake came off; where not, the caller gets to read the alert that says why."""
    try:
        outer.do_handshake()
    except ssl.SSLError:
        outer.shutdown(socket.SHUT_WR)
        while outer.recv(_CHUNK):
            pass
        return False
    return True
