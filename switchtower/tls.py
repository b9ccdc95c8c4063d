"""TLS to the broker: always verified, or not at all; and what to do where the verification fails."""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import urlsplit

from switchtower.errors import ConfigurationError
from switchtower.settings import Broker

_ADVICE = {
    "CERTIFICATE_REQUIRED": "the server asks for a client certificate: set broker.certificate_file and broker.key_file",
    "HANDSHAKE_FAILURE": "the server ended the handshake; it may ask for a client certificate",
    "UNKNOWN_CA": "the server does not trust this process's certificate (broker.certificate_file)",
    "CERTIFICATE_UNKNOWN": "the server does not accept this process's certificate (broker.certificate_file)",
    "CERTIFICATE_EXPIRED": "this process's certificate has expired (broker.certificate_file)",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port; it may have another one for TLS",
}


def tls_options(broker: Broker) -> dict[str, Any]:
    """What redis-py, kombu and Celery's backend need to know of TLS; empty for a plain `redis://`.

    The server's certificate and its name are always verified: kombu by itself would not.
    Raises `ConfigurationError` for files that cannot be used.
    """
    if urlsplit(broker.url).scheme != "rediss":
        return {}
    _check_files(broker)
    files = {
        "ssl_ca_certs": broker.ca_file,
        "ssl_certfile": broker.certificate_file,
        "ssl_keyfile": broker.key_file,
    }
    given = {name: str(path) for name, path in files.items() if path}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **given}


def _check_files(broker: Broker) -> None:
    """Load the files once, so that a wrong path is not mistaken for a broker that is away."""
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"broker.ca_file {broker.ca_file} cannot be used: {error}") from None
    if broker.certificate_file and broker.key_file:
        try:
            context.load_cert_chain(broker.certificate_file, broker.key_file)
        except (OSError, ssl.SSLError) as error:
            pair = f"{broker.certificate_file} and {broker.key_file}"
            raise ConfigurationError(f"the client certificate and key {pair} cannot be used: {error}") from None


def advice(error: ssl.SSLError) -> str:
    """One sentence on what to do about a TLS error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        told = f"the broker's certificate is not accepted: {error.verify_message}"
        return f"{told}; check broker.ca_file and the host name in the URL, or renew the certificate"
    if isinstance(error, ssl.SSLEOFError):
        return "the server hung up; it may ask for a client certificate (broker.certificate_file)"
    reason = re.sub(r"^(TLSV1|TLSV13|SSLV3)_ALERT_", "", error.reason or "")
    return _ADVICE.get(reason, f"TLS with the broker failed ({error.reason or error})")
