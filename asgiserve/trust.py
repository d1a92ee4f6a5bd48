"""Whom the server believes what is said about a client: the peers of ``forwarded_allow_ips``.

Knows addresses, networks and names; knows nothing of HTTP.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Iterable, Optional, Union

if TYPE_CHECKING:
    import ipaddress

    IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

DEFAULT_PEERS = "127.0.0.1,::1"
"""Who is trusted where nothing else is said: proxies on the same machine."""

_LOOPBACK = DEFAULT_PEERS.split(",")  # which is known to be right, and how `ipaddress` writes it

EVERYBODY = "*"
UNIX = "unix"

# What somebody meant as an address or a network, right or wrong; anything else is a name.
_NUMERIC = re.compile(r"(?:[0-9.]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)(?:/.*)?\Z")
_MAX_CACHED = 253  # what is longer than a host name is not worth remembering


def parse_ip(text: str) -> Optional[IPAddress]:
    """The address that `text` stands for, or None. A zone (``%eth0``) does not count, and an IPv4 address that is
    written as an IPv6 one (``::ffff:10.0.0.1``, as a dual-stack socket shows it) is the IPv4 address."""
    import ipaddress  # a server that no proxy speaks to does without

    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def split_items(items: Union[str, Iterable[str]]) -> list[str]:
    """The entries of a list of peers, given as text with commas or as strings. Raises ValueError."""
    parts = items.split(",") if isinstance(items, str) else items
    if not isinstance(parts, (list, tuple, set, frozenset)) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{items!r} is not a list of addresses")
    return [part.strip() for part in parts if part.strip()]


class TrustedPeers:
    """A set of peers: IP addresses, networks (``10.0.0.0/8``), ``unix`` for whoever comes over a UNIX socket, ``*`` for
    everybody, and names that are compared as they are.

    `items` is text with commas, or strings. Raises ValueError for what looks like an address or a network and is none.
    """

    def __init__(self, items: Union[str, Iterable[str]]) -> None:
        names = split_items(items)
        self.everybody = EVERYBODY in names
        self._unix = UNIX in names
        self._addresses: set[str] = set()  # as `ipaddress` writes them
        self._networks: list[Union[ipaddress.IPv4Network, ipaddress.IPv6Network]] = []
        self._names: set[str] = set()
        for name in names:
            self._add(name)
        self._known = functools.lru_cache(maxsize=4096)(self._look)

    def _add(self, name: str) -> None:
        if name in _LOOPBACK:
            self._addresses.add(name)
            return
        address = parse_ip(name)
        if address is not None:
            self._addresses.add(str(address))
        elif _NUMERIC.match(name):
            self._networks.append(_network(name))
        else:
            self._names.add(name)

    def trusts(self, host: str) -> bool:
        """Whether the host with this address or name is trusted."""
        return self.everybody or (self._known(host) if len(host) <= _MAX_CACHED else self._look(host))

    def trusts_peer(self, client: Any, server: Any) -> bool:
        """Whether the peer of a connection is trusted.

        `client` and `server` are its two ends as in an ASGI scope. A client without an address came over a UNIX
        socket when the server's end is one.
        """
        if self.everybody:
            return True
        if client:
            return self.trusts(client[0])
        return self._unix and bool(server) and server[1] is None

    def _look(self, host: str) -> bool:
        if host in self._addresses:
            return True
        address = parse_ip(host)
        if address is None:
            return host in self._names
        return str(address) in self._addresses or any(address in network for network in self._networks)


def _network(text: str) -> Union[ipaddress.IPv4Network, ipaddress.IPv6Network]:
    import ipaddress

    if "/" not in text:
        raise ValueError(f"{text!r} is not an IP address")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network") from None
    raise ValueError(f"{text!r} is not a network, did you mean {meant}?")
