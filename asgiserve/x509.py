"""The subject of an X.509 certificate as text (RFC 4514), read from its DER form (RFC 5280, X.690).

The ssl module names subjects in OpenSSL's own way, which cannot be turned into RFC 4514 without loss. The certificates
read here have been parsed and verified by OpenSSL before.
"""

from __future__ import annotations

from typing import Iterator, Optional

_SEQUENCE, _OID, _VERSION = 0x30, 0x06, 0xA0

# Descriptors registered for LDAP (RFC 4514 section 3, RFC 4519).
_NAMES = {
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "2.5.4.3": "CN",
    "2.5.4.4": "sn",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.41": "name",
    "2.5.4.42": "givenName",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
}

# The string types of ASN.1 by tag. T61String is read as everybody writes it.
_CODECS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


def subject(certificate: bytes) -> Optional[str]:
    """The subject's distinguished name of a DER certificate, as in ``CN=Steve Kille,O=Isode Limited,C=GB``.

    None when `certificate` is not one.
    """
    try:
        _, body = _only(certificate)
        fields = list(_items(_only(body, first=True)[1]))
        # Version (optional), serial number, signature algorithm, issuer, validity, subject.
        return name(fields[5 if fields[0][0] == _VERSION else 4][1])
    except (ValueError, IndexError):
        return None


def name(content: bytes) -> str:
    """The text form of the content of an ASN.1 Name: its parts in reverse order (RFC 4514 section 2.1).

    Raises ValueError or IndexError when it is not one.
    """
    parts = []
    for _, relative in _items(content):
        parts.append("+".join(_attribute(pair) for _, pair in _items(relative)))
    return ",".join(reversed(parts))


def _attribute(pair: bytes) -> str:
    (kind, oid), (tag, value) = _items(pair)
    if kind != _OID:
        raise ValueError("an attribute without a type")
    dotted = _dotted(oid)
    known = _NAMES.get(dotted)
    codec = _CODECS.get(tag)
    if known is not None and codec is not None:
        try:
            return f"{known}={_escape(value.decode(codec))}"
        except UnicodeDecodeError:
            pass
    # What has no registered name, or is no text, is shown as it is encoded.
    return f"{known or dotted}=#{pair[len(pair) - _size(value) :].hex()}"


def _escape(text: str) -> str:
    last = len(text) - 1
    escaped = []
    for at, char in enumerate(text):
        if char in '"+,;<>\\' or (char == " " and at in (0, last)) or (char == "#" and at == 0):
            escaped.append("\\" + char)
        elif char < " " or char == "\x7f":
            escaped.append(f"\\{ord(char):02x}")
        else:
            escaped.append(char)
    return "".join(escaped)


# -- DER


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) of each element in `data`. Tags above 30 do not occur in names and certificates."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4:
                raise ValueError("a length that DER does not have")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        content = data[at : at + length]
        if len(content) != length:
            raise ValueError("an element is cut short")
        at += length
        yield tag, content


def _only(data: bytes, first: bool = False) -> tuple[int, bytes]:
    """The SEQUENCE that `data` is, or begins with."""
    items = list(_items(data))
    if not items or items[0][0] != _SEQUENCE or (len(items) != 1 and not first):
        raise ValueError("no sequence")
    return items[0]


def _size(content: bytes) -> int:
    """The size of an element with that content."""
    length = len(content)
    return length + 2 + (0 if length < 0x80 else (length.bit_length() + 7) // 8)


def _dotted(oid: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER (X.690 section 8.19)."""
    numbers = []
    value = 0
    for byte in oid:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
