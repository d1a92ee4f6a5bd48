"""Handshake: the rules for a WebSocket opening handshake (RFC 6455 section 4.2) and what a valid one asks for.

It judges a request that `rules` found to ask for the WebSocket protocol, and answers nothing: `connection` does.
"""

import re
from binascii import b2a_base64
from typing import Optional

from ..errors import ProtocolError
from .deflate import DeflateParameters, negotiate
from .head import RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in base64
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: What a client of another version needs to know (RFC 6455 section 4.2.2, RFC 9110 sections 7.8 and 15.5.22).
_VERSION_FIELDS = ((b"sec-websocket-version", b"13"), (b"upgrade", b"websocket"), (b"connection", b"upgrade"))


class Handshake:
    """What the client asks for, and the answer as far as it needs no application.

    Attributes:
        accept: the value of Sec-WebSocket-Accept.
        subprotocols: what the client offers, in its order of preference.
        deflate: the agreed parameters of permessage-deflate, or None.
    """

    __slots__ = ("accept", "subprotocols", "deflate")

    def __init__(self, accept: bytes, subprotocols: "list[str]", deflate: Optional[DeflateParameters]) -> None:
        self.accept: bytes = accept
        self.subprotocols: list[str] = subprotocols
        self.deflate: Optional[DeflateParameters] = deflate


def check_handshake(head: RequestHead, allow_deflate: bool) -> Handshake:
    """Judge a request whose `wants_websocket` is true.

    Args:
        allow_deflate: whether messages may be compressed.

    Raises:
        ProtocolError: it is no handshake that can be answered with 101.
    """
    keys = []
    versions = []
    protocols = []
    extensions = []
    for name, value in head.headers:
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == b"sec-websocket-protocol":
            protocols.append(value)
        elif name == b"sec-websocket-extensions":
            extensions.append(value)
    _check_version(versions)
    key = _check_key(keys)
    subprotocols = _split_subprotocols(protocols) if protocols else []
    deflate = negotiate(extensions) if extensions else None
    return Handshake(make_accept(key), subprotocols, deflate if allow_deflate else None)


def make_accept(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept value that belongs to a Sec-WebSocket-Key (RFC 6455 section 4.2.2)."""
    from hashlib import sha1  # a server without WebSockets does without, and a process that has it finds it at once

    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def _check_version(versions: "list[bytes]") -> None:
    if not versions:
        raise ProtocolError(400, "no Sec-WebSocket-Version header")
    if len(versions) > 1:
        raise ProtocolError(400, "more than one Sec-WebSocket-Version header")
    if versions[0] != b"13":
        raise ProtocolError(426, "the WebSocket version is not 13", _VERSION_FIELDS)


def _check_key(keys: "list[bytes]") -> bytes:
    if not keys:
        raise ProtocolError(400, "no Sec-WebSocket-Key header")
    if len(keys) > 1:
        raise ProtocolError(400, "more than one Sec-WebSocket-Key header")
    if _KEY.fullmatch(keys[0]) is None:
        raise ProtocolError(400, "invalid Sec-WebSocket-Key header")
    return keys[0]


def _split_subprotocols(values: "list[bytes]") -> "list[str]":
    """Return the subprotocols of all fields; empty elements do not count (RFC 9110 section 5.6.1)."""
    subprotocols = []
    for value in values:
        for item in value.split(b","):
            item = item.strip(b" \t")
            if not item:
                continue
            if _TOKEN.fullmatch(item) is None:
                raise ProtocolError(400, "invalid Sec-WebSocket-Protocol header")
            subprotocols.append(item.decode("ascii"))
    return subprotocols
