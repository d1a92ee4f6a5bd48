"""Output: what was collected while input was worked through leaves in one call, joined unless it is large."""

from __future__ import annotations

import pytest
from fakes import FakeTransport
from harness import serve

from .apps import hello


class Recorder(FakeTransport):
    """Keeps the calls."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []

    def write(self, data):
        self.calls.append(bytes(data))
        super().write(data)

    def writelines(self, chunks):
        self.calls.append(list(chunks))
        super().write(b"".join(self.calls[-1]))


@pytest.fixture
def attach(stack, part):
    """attach(**extra): an Output and its transport, which can gather if it says `throttle`."""

    def make(**extra):
        client = serve(stack, hello)
        output = part("output").Output(client.state)
        transport = Recorder(client.loop, client.transport.protocol, extra)
        output.attach(transport)
        return output, transport

    return make


SMALL, LARGE = [b"a" * 100, b"b" * 5000, b"c" * 100], [b"a" * 9, b"b" * 16000, b"c" * 9, b"d" * 16000]


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("pieces", [SMALL, LARGE, LARGE[:1]], ids=["small", "large", "one"])
def test_what_was_collected(attach, gathers, pieces):
    output, transport = attach(**({"throttle": object()} if gathers else {}))
    output.cork()
    for piece in pieces:
        output.write(piece)
    assert transport.calls == []
    output.uncork()
    assert transport.calls == [pieces if gathers and pieces is LARGE else b"".join(pieces)]
    assert output.is_writable()


def test_the_bytes_that_a_full_transport_takes_are_counted(attach):
    """A client that takes nothing is found out by them, whichever way they went."""
    output, transport = attach(throttle=object())
    transport.block_writes()
    output.pause()
    output.cork()
    for piece in LARGE:
        output.write(piece)
    output.uncork()
    assert transport.calls == [LARGE]
    assert transport.get_write_buffer_size() == sum(map(len, LARGE))


@pytest.mark.parametrize(("size", "calls"), [(64 * 1024, 1), (64 * 1024 + 1, 2)])
def test_a_large_body_is_not_copied_behind_its_head(attach, size, calls):
    """Where the transport cannot gather."""
    output, transport = attach()
    output.write_pair(b"head", b"x" * size)
    assert len(transport.calls) == calls
    assert b"".join(transport.calls) == b"head" + b"x" * size
