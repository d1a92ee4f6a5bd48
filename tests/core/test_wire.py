"""What responses look like on the wire (RFC 9110, RFC 9112): head, framing, and what the server adds."""

from __future__ import annotations

import asyncio
import email.utils

import pytest
from harness import EAGER, GET, WALL_START, request, respond, serve

from core.apps import body, start

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"


def answering(status=200, headers=(), *pieces, trailing=False):
    """An application that sends these pieces; `trailing` says that an empty last message follows."""

    async def app(scope, receive, send):
        await send(start(status, headers))
        for index, piece in enumerate(pieces):
            await send(body(piece, trailing or index < len(pieces) - 1))
        if trailing or not pieces:
            await send(body())

    return app


def get(stack, app, data=GET, **settings):
    client = serve(stack, app, **settings)
    client.feed(data)
    return client.response()


# -- fields of the server


def test_whole_response(stack):
    client = serve(stack, answering(200, [(b"content-type", b"text/plain")], b"hi"))
    client.feed(GET)
    head, _, content = client.output().partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert sorted(lines[1:]) == [
        b"content-length: 2",
        b"content-type: text/plain",
        b"date: " + DATE,
        b"server: asgiserve",
    ]
    assert content == b"hi"


def test_date_and_server(stack):
    response = get(stack, answering())
    assert response.get(b"date") == DATE
    assert response.get(b"server") == b"asgiserve"


def test_date_goes_with_the_clock(stack):
    client = serve(stack, answering())
    client.feed(GET)
    client.advance(3.5)
    client.feed(GET)
    dates = [response.get(b"date") for response in client.responses()]
    times = [email.utils.parsedate_to_datetime(date.decode()).timestamp() for date in dates]
    assert times == [WALL_START, WALL_START + 3]


def test_date_of_every_day_and_month(part):
    for second in range(0, 2**33, 86400 * 13 + 3607):
        assert part("state").http_date(second).decode() == email.utils.formatdate(second, usegmt=True)


def test_date_and_server_can_be_off(stack):
    response = get(stack, answering(), date_header=False, server_header=False)
    assert response.get(b"date") is None
    assert response.get(b"server") is None


@pytest.mark.parametrize("name", [b"date", b"Date", b"DATE"])
def test_date_of_the_application_wins(stack, name):
    response = get(stack, answering(200, [(name, b"then")]))
    assert response.get(b"date") == b"then"
    assert response.get(b"server") == b"asgiserve"


@pytest.mark.parametrize("name", [b"server", b"Server"])
def test_server_of_the_application_wins(stack, name):
    response = get(stack, answering(200, [(name, b"mine")]))
    assert response.get(b"server") == b"mine"
    assert response.get(b"date") == DATE


def test_both_of_the_application_win(stack):
    response = get(stack, answering(200, [(b"server", b"mine"), (b"date", b"then")]), headers=[("x-extra", "1")])
    assert response.get(b"server") == b"mine"
    assert response.get(b"date") == b"then"
    assert response.get(b"x-extra") == b"1"


def test_extra_headers(stack):
    response = get(stack, answering(), headers=[("X-One", "1"), ("x-two", "a b")])
    assert response.get(b"x-one") == b"1"
    assert response.get(b"x-two") == b"a b"
    assert response.get(b"server") == b"asgiserve"


def test_extra_header_named_server(stack):
    response = get(stack, answering(), headers=[("Server", "other")])
    assert response.get(b"server") == b"other"


def test_error_responses_carry_the_fields_too(stack):
    response = get(stack, answering(), b"garbage\r\n\r\n", headers=[("x-one", "1")])
    assert response.status == 400
    assert response.get(b"date") == DATE
    assert response.get(b"server") == b"asgiserve"
    assert response.get(b"x-one") == b"1"


# -- fields of the application


def test_order_case_and_repetition_are_kept(stack):
    headers = [(b"Set-Cookie", b"a=1"), (b"X-B", b"2"), (b"set-cookie", b"c=3"), (b"x-b", b"4")]
    response = get(stack, answering(200, headers))
    assert [pair for pair in zip(response.names, (v for _, v in response.headers)) if pair in headers] == headers


@pytest.mark.parametrize(
    "value",
    [b"", b"a", b"a b", b"a\tb", b"\xe9", b"\xff\x80", b'"q"', b"x" * 100_000, b"a,b;c=d:e"],
    ids=lambda v: repr(v[:9]),
)
def test_values(stack, value):
    assert get(stack, answering(200, [(b"x-a", value)])).get(b"x-a") == value


def test_names(stack):
    name = b"!#$%&'*+-.^_`|~09azAZ"
    response = get(stack, answering(200, [(name, b"v")]))
    assert name in response.names


def test_a_long_list_of_headers(stack):
    headers = [(b"x-%d" % number, b"v" * number) for number in range(500)]
    response = get(stack, answering(200, headers, b"x"))
    assert [pair for pair in response.headers if pair[0].startswith(b"x-")] == headers
    assert response.body == b"x"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_names_and_values_of_other_byte_types(stack, kind):
    assert get(stack, answering(200, [(kind(b"x-a"), kind(b"1"))])).get(b"x-a") == b"1"


def test_transfer_encoding_is_ignored(stack):
    """E4."""
    for value in (b"chunked", b"gzip, chunked", b"identity"):
        for name in (b"transfer-encoding", b"Transfer-Encoding"):
            assert get(stack, answering(200, [(name, value)], b"ab")).get(b"content-length") == b"2"
            response = get(stack, answering(200, [(name, value)], b"ab", b"c"))
            assert response.body == b"abc"
            assert response.get(b"transfer-encoding") == b"chunked"
            response = get(stack, answering(200, [(name, value), (b"content-length", b"3")], b"ab", b"c"))
            assert response.get(b"transfer-encoding") is None


def test_equal_content_lengths_become_one(stack):
    headers = [(b"content-length", b"2"), (b"Content-Length", b"2")]
    assert get(stack, answering(200, headers, b"ab")).get(b"content-length") == b"2"


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close", b"close, x"])
def test_connection_close_of_the_application(stack, value):
    client = serve(stack, answering(200, [(b"connection", value)], b"ab"))
    client.feed(GET * 2)
    response = client.response()
    assert response.says_close
    assert len(response.get_all(b"connection")) == 1
    assert client.ended


@pytest.mark.parametrize("value", [b"keep-alive", b"closed", b"x"])
def test_other_connection_options_of_the_application(stack, value):
    client = serve(stack, answering(200, [(b"connection", value)], b"ab"))
    client.feed(GET * 2)
    assert len(client.responses()) == 2


def test_connection_keep_alive_of_the_application_does_not_keep_it(stack):
    client = serve(stack, answering(200, [(b"connection", b"keep-alive")], b"ab"))
    client.feed(request("GET", "/", "Connection: close"))
    assert client.response().says_close
    assert client.closed


# -- status


@pytest.mark.parametrize(
    ("status", "reason"),
    [(200, "OK"), (404, "Not Found"), (418, None), (299, ""), (599, ""), (999, ""), (500, "Internal Server Error")],
)
def test_status_line(stack, status, reason):
    client = serve(stack, answering(status, (), b"x"))
    client.feed(GET)
    response = client.response()
    assert response.status == status
    assert reason is None or response.reason == reason


# -- framing


@pytest.mark.parametrize("size", [0, 1, 9, 10, 100, 65535, 65536, 1_000_000])
def test_one_message_gets_a_length(stack, size):
    response = get(stack, answering(200, (), b"x" * size))
    assert response.get(b"content-length") == b"%d" % size
    assert response.body == b"x" * size


@pytest.mark.parametrize(
    "pieces", [[b"a", b"b"], [b"", b"ab"], [b"a", b"", b"b"], [b"ab", b""], [b"x" * 70000, b"y" * 16]]
)
def test_several_messages_are_chunked(stack, pieces):
    client = serve(stack, answering(200, (), *pieces))
    client.feed(GET)
    response = client.response()
    assert response.chunks == [piece for piece in pieces if piece]
    assert response.get(b"content-length") is None
    assert not client.closed


def test_empty_pieces_do_not_end_a_chunked_body(stack):
    client = serve(stack, answering(200, (), b"", b"", b"a", b"", b"b", b"", trailing=True))
    client.feed(GET)
    assert client.response().chunks == [b"a", b"b"]
    assert client.output().count(b"\r\n0\r\n\r\n") == 1


def test_nothing_at_all_in_two_messages(stack):
    response = get(stack, answering(200, (), b"", b""))
    assert response.complete
    assert response.body == b""


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, 4095, 4096, 65536])
def test_chunk_sizes(stack, size):
    response = get(stack, answering(200, (), b"x" * size, b"y" * size))
    assert response.chunks == [b"x" * size, b"y" * size]


def test_length_of_the_application(stack):
    response = get(stack, answering(200, [(b"content-length", b"4")], b"ab", b"cd"))
    assert response.get(b"content-length") == b"4"
    assert response.body == b"abcd"


def test_length_zero_of_the_application(stack):
    response = get(stack, answering(200, [(b"content-length", b"0")], b""))
    assert response.get(b"content-length") == b"0"
    assert response.complete


def test_length_of_the_application_with_leading_zeros(stack):
    response = get(stack, answering(200, [(b"content-length", b"0002")], b"ab"))
    assert int(response.get(b"content-length")) == 2


@pytest.mark.parametrize("connection", [None, "keep-alive"])
def test_http_1_0_without_a_length_is_close_delimited(stack, connection):
    fields = ["Connection: " + connection] if connection else []
    client = serve(stack, answering(200, (), b"ab", b"cd"))
    client.feed(request("GET", "/", *fields, version="1.0"))
    response = client.response()
    assert response.close_delimited
    assert response.body == b"abcd"
    assert response.get(b"transfer-encoding") is None
    assert not response.get(b"connection") or response.says_close
    assert client.closed
    assert not client.transport.aborted


def test_http_1_0_with_a_length_can_be_kept(stack):
    client = serve(stack, answering(200, (), b"ab"))
    client.feed(request("GET", "/", "Connection: keep-alive", version="1.0") * 2)
    assert [response.get(b"connection") for response in client.responses()] == [b"keep-alive"] * 2
    assert not client.closed


def test_http_1_0_is_answered_with_http_1_1(stack):
    """RFC 9110 section 6.2: the server's own version."""
    client = serve(stack, answering(200, (), b"ab"))
    client.feed(request(version="1.0"))
    assert client.output().startswith(b"HTTP/1.1 200 ")


# -- no body

BODIES = {
    "one message": ((), (b"abc",)),
    "empty": ((), (b"",)),
    "stream": ((), (b"ab", b"c")),
    "length": ([(b"content-length", b"3")], (b"abc",)),
    "length, stream": ([(b"content-length", b"3")], (b"ab", b"c")),
}


@pytest.mark.parametrize("kind", BODIES)
def test_head(stack, kind):
    """E10: no body, the fields as for GET (framing may be left out, RFC 9110 section 9.3.2)."""
    headers, pieces = BODIES[kind]
    client = serve(stack, answering(200, headers, *pieces))
    client.feed(request("HEAD") + GET)
    head, get = client.responses()
    assert head.body == b""
    assert get.body == b"".join(pieces)
    framing = (b"content-length", b"transfer-encoding")
    assert [h for h in head.headers if h[0] not in framing] == [h for h in get.headers if h[0] not in framing]
    for name in framing:
        assert head.get(name) in (None, get.get(name))
    if headers:
        assert head.get(b"content-length") == b"3"


def test_head_with_a_length_and_no_body(stack):
    """An application may leave the body out itself."""
    client = serve(stack, answering(200, [(b"content-length", b"3")]))
    client.feed(request("HEAD") * 2)
    assert [response.get(b"content-length") for response in client.responses()] == [b"3", b"3"]


@pytest.mark.parametrize("kind", BODIES)
def test_204(stack, kind):
    headers, pieces = BODIES[kind]
    client = serve(stack, answering(204, headers, *pieces))
    client.feed(GET * 2)
    for response in client.responses():
        assert response.get(b"content-length") is None
        assert response.get(b"transfer-encoding") is None


@pytest.mark.parametrize("kind", BODIES)
def test_304(stack, kind):
    headers, pieces = BODIES[kind]
    client = serve(stack, answering(304, headers, *pieces))
    client.feed(GET * 2)
    for response in client.responses():
        assert response.get(b"transfer-encoding") is None
        assert response.get(b"content-length") == (b"3" if headers else None)


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_over_http_1_0_keeps_the_connection(stack, status):
    client = serve(stack, answering(status, (), b"", b""))
    client.feed(request("GET", "/", "Connection: keep-alive", version="1.0") * 2)
    assert len(client.responses()) == 2
    assert not client.closed


def test_205_has_a_length(stack):
    """RFC 9110 section 15.3.6: without a body its length has to be said."""
    assert get(stack, answering(205)).get(b"content-length") == b"0"


# -- writes


def test_head_and_body_leave_together(stack):
    client = serve(stack, answering(200, (), b"ab"))
    client.feed(GET)
    assert client.transport.writes == 1


def test_head_and_first_piece_leave_together(stack):
    sizes = []

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        await asyncio.sleep(0)
        sizes.append(client.transport.writes)
        await send(body(b"b"))

    client = serve(stack, app)
    client.feed(GET)
    assert sizes == [1]
    assert client.response().chunks == [b"a", b"b"]


def test_responses_to_one_read_leave_together(stack):
    client = serve(stack, answering(200, (), b"ab"))
    client.feed(GET * 20)
    assert len(client.responses()) == 20
    if EAGER:
        assert client.transport.writes == 1


def test_a_stream_is_not_held_back(stack):
    """What an application has sent is on its way when it waits for something else."""

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", True))
        await asyncio.sleep(1)
        await send(body(b"b"))

    client = serve(stack, app)
    client.feed(GET)
    (response,) = client.responses()
    assert response.chunks == [b"a"]
    client.advance(2)
    assert client.response().chunks == [b"a", b"b"]


LATE = {
    "chunked": (request(), []),
    "length": (request(), [(b"content-length", b"2")]),
    "HEAD": (request("HEAD"), []),
    "HEAD with a length": (request("HEAD"), [(b"content-length", b"2")]),
    "HTTP/1.0": (request(version="1.0"), []),
    "HTTP/1.0 with a length": (
        request("GET", "/", "Connection: keep-alive", version="1.0"),
        [(b"content-length", b"2")],
    ),
}


@pytest.mark.parametrize("kind", LATE)
def test_a_head_does_not_wait_for_a_late_body(stack, kind):
    """It is held for the first body message, but not for long: event streams open before their first event."""
    data, headers = LATE[kind]

    async def app(scope, receive, send):
        await send(start(headers=headers))
        await asyncio.sleep(10)
        await send(body(b"ab"))

    client = serve(stack, app)
    client.feed(data)
    assert client.output() == b""
    client.advance(1)
    assert client.output().startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.output().endswith(b"\r\n\r\n")
    client.advance(10)
    response = client.response()
    assert response.complete
    assert response.body == (b"" if data.startswith(b"HEAD") else b"ab")
    assert client.closed == (kind == "HTTP/1.0")


@pytest.mark.parametrize("kind", ["chunked", "length", "HTTP/1.0"])
def test_a_late_body_that_never_comes(stack, server_log, kind):
    """The head is out: the response is cut, and no 500 follows it."""
    data, headers = LATE[kind]

    async def app(scope, receive, send):
        await send(start(headers=headers))
        await asyncio.sleep(10)
        raise LookupError

    client = serve(stack, app)
    client.feed(data)
    client.advance(11)
    assert [type(error) for error in server_log.take_errors()] == [LookupError]
    response = client.response()
    assert response.status == 200
    assert response.body == b""
    assert client.closed
    assert client.transport.aborted if response.close_delimited else not response.complete


def test_a_late_body_that_does_not_fit(stack, server_log):
    async def app(scope, receive, send):
        await send(start(headers=[(b"content-length", b"3")]))
        await asyncio.sleep(1)
        await send(body(b"abcd"))

    client = serve(stack, app)
    client.feed(GET)
    client.advance(2)
    assert len(server_log.take_errors()) == 1
    assert client.response().body == b""
    assert not client.response().complete


def test_large_bodies_are_written_in_one_piece_or_more(stack):
    client = serve(stack, answering(200, (), b"x" * 5_000_000))
    client.feed(GET)
    assert client.response().body == b"x" * 5_000_000


def test_responses_do_not_mix(stack):
    """Nothing of one response shows in the next."""

    async def app(scope, receive, send):
        if scope["path"] == "/1":
            await respond(send, b"one", 404, [(b"connection", b"x"), (b"date", b"then"), (b"content-length", b"3")])
        else:
            await respond(send, b"two!")

    client = serve(stack, app)
    client.feed(request(target="/1") + request(target="/2"))
    first, second = client.responses()
    assert (first.status, first.body, first.get(b"date")) == (404, b"one", b"then")
    assert (second.status, second.body, second.get(b"date")) == (200, b"two!", DATE)
    assert second.get(b"connection") is None
