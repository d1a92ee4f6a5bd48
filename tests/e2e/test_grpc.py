"""gRPC's own client: single messages, streams in both directions, statuses, cancelled calls, deadlines, the end."""

from __future__ import annotations

import queue
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from .group import PATIENCE
from .launcher import wait_for

pytestmark = pytest.mark.usefixtures("ours")
DATA = bytes(range(256)) * 8192  # 2 MiB
TIMEOUT = 60.0


@pytest.fixture
def grpc(library):
    library("h2")
    return library("grpc")


@pytest.fixture
def server(serve):
    return serve("grpc_app:app", "--http2", "--no-access-log")


class Service:
    """The methods of the application, with bytes for messages."""

    def __init__(self, channel):
        self.echo = channel.unary_unary("/test/Echo")
        self._echo_stream = channel.stream_stream("/test/Echo")
        self.missing = channel.unary_unary("/test/Missing")
        self.left = channel.unary_unary("/test/Left")

    def echo_stream(self, **options):
        """A call, and what puts messages into it; None ends them."""
        requests = queue.SimpleQueue()
        return self._echo_stream(iter(partial(requests.get, timeout=TIMEOUT), None), **options), requests.put


@contextmanager
def service(grpc, server):
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        yield Service(channel)


@pytest.fixture
def calls(grpc, server):
    with service(grpc, server) as ready:
        yield ready


def trailers(call):
    return dict(call.trailing_metadata())


@pytest.mark.parametrize("size", [0, 1, 16384, 65536, len(DATA)])
def test_a_call(calls, grpc, size):
    answer, call = calls.echo.with_call(DATA[:size], timeout=TIMEOUT)
    assert answer == DATA[:size]
    assert call.code() == grpc.StatusCode.OK
    assert dict(call.initial_metadata())["x-method"] == "Echo"
    assert trailers(call)["x-count"] == "1"


def test_a_status_that_is_no_success(calls, grpc):
    with pytest.raises(grpc.RpcError) as caught:
        calls.missing(b"", timeout=TIMEOUT)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no such thing"


def test_messages_of_a_stream(calls):
    messages = [DATA[: number * 7919 % 50_000] for number in range(200)]
    call, put = calls.echo_stream(timeout=TIMEOUT)
    for message in (*messages, None):
        put(message)
    assert list(call) == messages
    assert trailers(call)["x-count"] == "200"


def test_each_message_waits_for_the_answer_to_the_last(calls):
    call, put = calls.echo_stream(timeout=TIMEOUT)
    for number in range(100):
        put(b"%d" % number)
        assert next(call) == b"%d" % number
    put(None)
    assert list(call) == []


def test_more_calls_than_streams(calls):
    """The client keeps to the limit and has the rest wait."""
    with ThreadPoolExecutor(150) as pool:
        sizes = [number * 7919 % 100_000 for number in range(300)]
        answers = pool.map(lambda size: calls.echo(DATA[:size], timeout=TIMEOUT), sizes)
        assert [len(answer) for answer in answers] == sizes


def test_a_call_that_is_cancelled(calls, grpc):
    """The application is told, and the connection goes on."""
    before = int(calls.left(b"", timeout=TIMEOUT))
    call, put = calls.echo_stream()
    put(b"x")
    assert next(call) == b"x"
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    put(None)
    wait_for(lambda: int(calls.left(b"", timeout=TIMEOUT)) == before + 1, what="the application knows")
    assert calls.echo(b"y", timeout=TIMEOUT) == b"y"


def test_a_deadline(calls, grpc):
    call, put = calls.echo_stream(timeout=0.2)
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    put(None)
    assert calls.echo(b"y", timeout=TIMEOUT) == b"y"


def test_a_call_goes_on_while_the_server_ends(start, grpc):
    server = start("grpc_app:app", "--http2", "--no-access-log")
    with service(grpc, server) as calls:
        call, put = calls.echo_stream(timeout=TIMEOUT)
        put(b"before")
        assert next(call) == b"before"
        server.signal(signal.SIGTERM)
        wait_for(lambda: not server.accepts(), what="the end begins")
        put(b"behind")
        assert next(call) == b"behind"
        put(None)
        assert list(call) == []
        assert call.code() == grpc.StatusCode.OK
    server.stop(signal.SIGTERM, PATIENCE)
