"""How addresses are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.addresses import TCP, Inherited, Unix, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", TCP("127.0.0.1", 8000)),
        ("localhost:0", TCP("localhost", 0)),
        ("[::1]:80", TCP("::1", 80)),
        ("[::]:65535", TCP("::", 65535)),
        ("[fe80::1%eth0]:80", TCP("fe80::1%eth0", 80)),
        (":8000", TCP("", 8000)),
        ("8000", TCP("127.0.0.1", 8000)),
        ("0", TCP("127.0.0.1", 0)),
        ("unix:/run/app.sock", Unix("/run/app.sock")),
        ("unix:app.sock", Unix("app.sock")),
        ("unix:/run/a:80", Unix("/run/a:80")),
        ("fd://0", Inherited(0)),
        ("fd://12", Inherited(12)),
    ],
)
def test_forms(text, address):
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "localhost",
        "127.0.0.1",
        "::1",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "::1]:80",
        "[]:80",
        "[localhost]:80",
        "host:",
        "host:http",
        "host:-1",
        "host:+1",
        "host: 1",
        "host:65536",
        "host:000080",
        "host:8_0",
        "host:٨٠",
        "٨٠",
        "65536",
        "http://host:80",
        "a b:80",
        "a\0b:80",
        "unix:",
        "unix:/a\0b",
        "fd://",
        "fd://-1",
        "fd://x",
    ],
)
def test_what_is_none(text):
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert repr(text) in str(caught.value) or "is not a port" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_is_not(text):
    try:
        address = parse(text)
    except ValueError:
        return
    assert isinstance(address, Inherited) or parse(str(address)) in (address, TCP("*", address[-1]))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (TCP("", 80), "*:80"),
        (TCP("::1", 80), "[::1]:80"),
        (TCP("localhost", 80), "localhost:80"),
        (Unix("/s"), "unix:/s"),
        (Inherited(3), "file descriptor 3"),
        (Inherited(3, "web"), "file descriptor 3 (web)"),
    ],
)
def test_shown(address, text):
    assert str(address) == text
