"""Distinguished names as text: the examples of RFC 4514, and what certificates hold."""

from __future__ import annotations

import datetime

import pytest

pytest.importorskip("cryptography", reason="certificates are made with cryptography")

from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from asgiserve import x509

OID = library.ObjectIdentifier
UID, DC, CN = OID("0.9.2342.19200300.100.1.1"), OID("0.9.2342.19200300.100.1.25"), OID("2.5.4.3")
OU, ORGANISATION, COUNTRY, SERIAL = OID("2.5.4.11"), OID("2.5.4.10"), OID("2.5.4.6"), OID("2.5.4.5")


def attribute(oid, value):
    return library.NameAttribute(oid, value, _validate=False)


def single(*attributes):
    return library.Name(list(attributes))


KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(name):
    now = datetime.datetime(2026, 1, 1)
    built = (
        library.CertificateBuilder()
        .subject_name(name)
        .issuer_name(single(attribute(CN, "issuer")))
        .public_key(KEY.public_key())
        .serial_number(1 << 150)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (single(), ""),
        (
            single(attribute(DC, "net"), attribute(DC, "example"), attribute(UID, "jsmith")),
            "UID=jsmith,DC=example,DC=net",
        ),
        (
            library.Name(
                [
                    library.RelativeDistinguishedName([attribute(DC, "net")]),
                    library.RelativeDistinguishedName([attribute(OU, "Sales"), attribute(CN, "J.  Smith")]),
                ]
            ),
            "OU=Sales+CN=J.  Smith,DC=net",
        ),
        (single(attribute(CN, 'James "Jim" Smith, III')), 'CN=James \\"Jim\\" Smith\\, III'),
        (single(attribute(CN, "Before\rAfter")), "CN=Before\\0dAfter"),
        (single(attribute(CN, "nul\0and\x7f")), "CN=nul\\00and\\7f"),
        (single(attribute(CN, "Lučić")), "CN=Lučić"),
        (single(attribute(CN, " both ")), "CN=\\ both\\ "),
        (single(attribute(CN, " ")), "CN=\\ "),
        (single(attribute(CN, "#1 # 2")), "CN=\\#1 # 2"),
        (single(attribute(CN, "a+b;c<d>e\\f=g")), "CN=a\\+b\\;c\\<d\\>e\\\\f=g"),
        (single(attribute(COUNTRY, "GB"), attribute(SERIAL, "7")), "serialNumber=7,C=GB"),
        (single(attribute(OID("1.3.6.1.4.1.1466.0"), "\4\2Hi")), "1.3.6.1.4.1.1466.0=#0c0404024869"),
        (single(attribute(OID("2.999.1"), "x" * 300)), "2.999.1=#0c82012c" + "78" * 300),
    ],
)
def test_names(name, text):
    assert x509.subject(certificate(name)) == text


COMMON_NAME = bytes.fromhex("0603550403")
EMAIL = bytes.fromhex("06092a864886f70d010901")


@pytest.mark.parametrize(
    ("oid", "tag", "value", "text"),
    [
        (COMMON_NAME, 0x0C, "widé".encode(), "CN=widé"),
        (COMMON_NAME, 0x13, b"plain", "CN=plain"),
        (COMMON_NAME, 0x14, b"wid\xe9", "CN=widé"),
        (COMMON_NAME, 0x1C, "widé".encode("utf-32-be"), "CN=widé"),
        (COMMON_NAME, 0x1E, "widé".encode("utf-16-be"), "CN=widé"),
        (EMAIL, 0x16, b"a@b.org", "1.2.840.113549.1.9.1=#16076140622e6f7267"),
        # What is not text is shown as it is encoded: no UTF-8, no ASCII, no string at all.
        (COMMON_NAME, 0x0C, b"\xff\xfe", "CN=#0c02fffe"),
        (COMMON_NAME, 0x13, b"\xe9", "CN=#1301e9"),
        (COMMON_NAME, 0x02, b"\0", "CN=#020100"),
    ],
)
def test_kinds_of_text(oid, tag, value, text):
    pair = oid + bytes([tag, len(value)]) + value
    pair = bytes([0x30, len(pair)]) + pair
    assert x509.name(bytes([0x31, len(pair)]) + pair) == text


def test_a_long_name():
    name = single(*(attribute(OU, f"unit {number}") for number in range(500)))
    text = x509.subject(certificate(name))
    assert text == ",".join(f"OU=unit {number}" for number in reversed(range(500)))


def test_a_certificate_cut_anywhere_has_no_name():
    der = certificate(single(attribute(CN, "someone")))
    for size in range(len(der)):
        assert x509.subject(der[:size]) is None
    assert x509.subject(der) == "CN=someone"


@pytest.mark.parametrize("junk", [b"", b"\0", b"\x30\x00", b"\x30\x80\x00\x00", b"\x30\x85\0\0\0\0\0", b"junk" * 10])
def test_junk_has_no_name(junk):
    assert x509.subject(junk) is None
