"""Which servers private texts may go to: those in the house, and those that somebody has vouched for."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from httpx2 import URL, InvalidURL

from switchtower.errors import ConfigurationError

_HOUSE = tuple(
    ip_network(net) for net in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)


def expect_private(url: str, *, vouched: bool) -> None:
    """Refuse a server that may stand outside, unless somebody has vouched for it.

    A name is not looked up: what it means is decided anew, and by others, at each connection.
    """
    try:
        parsed = URL(url)  # by the very parser that will decide where the texts go
    except InvalidURL as error:
        raise ConfigurationError(f"local.server_url is no URL: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError("local.server_url must begin with http:// or https:// and name a host")
    if not (vouched or _in_house(parsed.host)):
        raise ConfigurationError(
            f"local.server_url leads to {parsed.host!r}, which is no loopback and no private address: "
            "private texts must not leave. If this server is yours, say so with local.server_is_private = true"
        )


def _in_house(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in net for net in _HOUSE)
