"""The syntax of forwarding headers: the nodes of X-Forwarded-For and Forwarded, and RFC 7239's Forwarded itself.

What it reads was written by strangers: nothing here raises, and whatever cannot be understood is an unknown node or a
broken element.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional

from ..trust import parse_ip

Address = tuple[str, int]

UNKNOWN: Address = ("unknown", 0)
"""The address of a client that nobody names, or whose name makes no sense."""

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([^:]*))?\Z")
_PLAIN = re.compile(r"([^:]*)(?::([^:]*))?\Z")
# Host names, and the obfuscated identifiers of RFC 7239 section 6.3. What is shown in logs must not bring more.
_NAME = re.compile(r"[0-9A-Za-z._-]{1,253}\Z")

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A token; and, beyond RFC 7239, the characters of addresses, which many senders do not put into quotes.
_LOOSE_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(rf"(?:({_TOKEN})=(?:({_LOOSE_TOKEN})|{_QUOTED})[ \t]*)?(;[ \t]*|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_MARK = re.compile('[",]')


def parse_node(text: str) -> Address:
    """The address that a node stands for: an IPv4 or IPv6 address or a name, with a port or without.

    Returns (host, port), with port 0 where there is none. What is neither is :data:`UNKNOWN`.
    """
    match = _BRACKETED.match(text) or _PLAIN.match(text)
    if match is None:  # an IPv6 address without brackets has no port
        address = parse_ip(text)
        return UNKNOWN if address is None else (str(address), 0)
    host, port = match.groups()
    address = parse_ip(host)
    if address is not None:
        return str(address), parse_port(port) or 0
    if text.startswith("[") or not _NAME.match(host):
        return UNKNOWN
    return host, parse_port(port) or 0


def parse_port(text: Optional[str]) -> Optional[int]:
    """The port that `text` stands for, or None. Obfuscated ports (RFC 7239 section 6.2) are None too."""
    if not text or len(text) > 5 or not (text.isascii() and text.isdigit()):
        return None
    port = int(text)
    return port if 0 < port < 65536 else None


def elements_from_right(text: str) -> Iterator[str]:
    """The elements of a list whose commas may stand in quoted strings, the last one first.

    From the right, because that is the side on which trusted proxies add theirs: whatever a client has put in front,
    open quotes included, cannot change how those are read.
    """
    end = len(text)
    is_quoted = False
    for mark in reversed([match.start() for match in _MARK.finditer(text)]):
        if text[mark] == '"':
            if not is_quoted or not _is_escaped(text, mark):
                is_quoted = not is_quoted
        elif not is_quoted:
            yield text[mark + 1 : end]
            end = mark
    yield text[:end]


def _is_escaped(text: str, position: int) -> bool:
    before = position
    while before > 0 and text[before - 1] == "\\":
        before -= 1
    return (position - before) % 2 == 1


def parse_element(text: str) -> Optional[dict[str, str]]:
    """The parameters of one element of Forwarded (RFC 7239 section 4), with lower-case names.

    Returns None for an element that breaks the syntax or names a parameter twice, and an empty dict for an empty one.
    """
    text = text.strip(" \t")
    found: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match is None:
            return None
        name, token, quoted, mark = match.groups()
        if name is not None:
            name = name.lower()
            if name in found:
                return None
            found[name] = _ESCAPE.sub(r"\1", quoted) if token is None else token
        if not mark:
            return found
        position = match.end()


def parse_forwarded(text: str) -> list[Optional[dict[str, str]]]:
    """The elements of a Forwarded header in their order, empty ones left out, broken ones as None."""
    parsed = [parse_element(element) for element in elements_from_right(text)]
    parsed.reverse()
    return [element for element in parsed if element is None or element]
