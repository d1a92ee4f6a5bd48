"""Peer: who is at the other end of a connection, as the scopes of its requests and the logs have it."""

import logging
from typing import Any, Optional

from .._consts import TRACE
from .head import RequestHead
from .scope import Address, ConnectionScope, to_address

logger = logging.getLogger("asgiserve.error")


class Peer:
    """The other end of a connection.

    Args:
        transport: that of the connection.
        is_direct: whether it is known to have no TLS.

    Attributes:
        scheme: "http" or "https".
    """

    __slots__ = ("scheme", "_client", "_server", "_tls", "_name")

    def __init__(self, transport: Any, is_direct: bool) -> None:
        self.scheme: str = "http"
        self._client: Address = to_address(transport.get_extra_info("peername"), False)
        self._server: Address = to_address(transport.get_extra_info("sockname"), True)
        self._tls: Optional[dict[str, Any]] = None  # the ASGI `tls` extension
        self._name: str = ""  # made when a log asks for it
        if not is_direct and transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
            self._tls = transport.get_extra_info("tls_extension")

    # -- for scopes

    def make_scope(self, http_version: str, last: Optional[ConnectionScope]) -> ConnectionScope:
        """Return what the scopes of all requests have in common; `last` is that of another connection, or None."""
        return ConnectionScope(http_version, self.scheme, self._client, self._server, last)

    def complete(self, scope: "dict[str, Any]", head: RequestHead, forwarding: Any) -> str:
        """Put into a scope what the head alone does not say.

        Args:
            forwarding: see ServerState.
        Returns:
            the client's name for the logs where a proxy has said it; else empty.
        """
        if self._tls is not None:
            scope["extensions"]["tls"] = self._tls.copy()
        if head.is_forwarded and forwarding is not None:
            name: str = forwarding(scope)
            return name
        return ""

    # -- for the logs

    def name(self) -> str:
        """Return host:port; empty where the transport has no such name."""
        if not self._name and self._client is not None:
            self._name = f"{self._client[0]}:{self._client[1]}"
        return self._name

    def label(self) -> str:
        """Return what the error log calls it: its name where it has one, never nothing."""
        name = self.name()
        if name:
            return name
        return "unix" if self._server is not None and self._server[1] is None else "unknown"

    def warn(self, name: str, message: str, *args: Any) -> None:
        """Log a fault of the client; `name` is what a proxy calls it, or empty."""
        client = name or self.label()
        logger.warning("%s - " + message, client, *args, extra={"client": client})

    def trace(self, message: str) -> None:
        """Log what became of the connection."""
        client = self.label()
        logger.log(TRACE, "%s - %s", client, message, extra={"client": client})
