"""The parts by themselves: reading a head, encoding a response."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from asgiserve import _consts
from asgiserve._stack import Stack
from bench.cases import ROWS

from .conftest import Measure

TIMES = 1000

SMALL = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
TEN = [
    (b"content-type", b"application/json"),
    (b"content-length", b"13"),
    (b"cache-control", b"private, max-age=0, must-revalidate"),
    (b"vary", b"accept-encoding, cookie"),
    (b"etag", b'"5f0c7a529d6e4a3b8f430d2c1b7e9a10"'),
    (b"last-modified", b"Thu, 01 Jan 2026 00:00:00 GMT"),
    (b"x-request-id", b"5f0c7a52-9d6e-4a3b-8f43-0d2c1b7e9a10"),
    (b"set-cookie", b"session=8d2f6c3e1b9a47f0a5c4; Path=/; HttpOnly; SameSite=Lax"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
]


def part(stack: Stack, module: str) -> Any:
    """A module of the core in the build of this stack."""
    package = stack.HTTPConnection.__module__.rpartition(".")[0]
    return import_module(f"{package}.{module}")


@pytest.mark.parametrize("row", ["plaintext", "browser"])
def test_parse(row: str, stack: Stack, measure: Measure) -> None:
    """Read a request without a body: bytes to a checked RequestHead."""
    module = part(stack, "reader")
    reader = module.RequestReader(module.Limits(16384, 65536, 128, -1))
    data = ROWS[row].request

    def work() -> None:
        for _ in range(TIMES):
            reader.feed(data)
            event = reader.next_event()
            reader.next_message()
        assert event == _consts.REQUEST_END

    measure(f"parse: {row}", work, TIMES)


@pytest.mark.parametrize("headers", [SMALL, TEN], ids=["small", "10 headers"])
def test_encode(headers: list[tuple[bytes, bytes]], stack: Stack, measure: Measure) -> None:
    """Encode a response with a body of 13 bytes."""
    module = part(stack, "wire")
    encoder = module.ResponseEncoder()
    common = module.CommonFields(b"server: asgiserve\r\n", b"")
    common.set_date(b"date: Thu, 01 Jan 2026 00:00:00 GMT\r\n")
    body = b"Hello, World!"

    def work() -> None:
        for _ in range(TIMES):
            encoder.start(200, headers, common)
            response = encoder.finish(_consts.FRAMING_LENGTH, 13, b"", body)
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert response.endswith(b"\r\n\r\n" + body)

    measure(f"encode: {'small' if headers is SMALL else '10 headers'}", work, TIMES)
