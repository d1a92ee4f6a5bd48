"""The corpus, run through a whole server: each case fed whole, byte by byte, and cut in two at every place."""

from __future__ import annotations

import harness
import pytest
from http_reader import tokens

from . import connections, fields, framing, request_line, upgrades
from .case import GET, Case, Seen

CASES = [*request_line.CASES, *fields.CASES, *framing.CASES, *connections.CASES, *upgrades.CASES]
SPLIT_ALL_BELOW = 2048  # longer inputs are cut at some places only

# What no rule of HTTP allows to come out of a server's error answers.
TEXT = b"text/plain"


class Recorder:
    """The application: reads each body to its end, keeps what it saw, and says so in the answer."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict, bytes]] = []

    async def __call__(self, scope, receive, send):
        parts = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(parts)
        self.seen.append((scope, body))
        await harness.respond(send, answer(scope["method"], scope["raw_path"], body))


def answer(method: str, raw_path: bytes, body: bytes) -> bytes:
    return b"%s %s %d" % (method.encode(), raw_path, len(body))


def converse(stack, case: Case, pieces) -> harness.Client:
    """Run a case with its data in these pieces, and check everything the RFCs promise about the outcome."""
    app = Recorder()
    client = harness.serve(stack, app, record=False, **case.settings)
    for piece in pieces:
        client.feed(piece)
    check(case, client, app)
    return client


def check(case: Case, client: harness.Client, app: Recorder) -> None:
    expected = [answer for answer in case.expect if isinstance(answer, Seen)]
    methods = [answer.method if isinstance(answer, Seen) else "GET" for answer in case.expect]
    responses = client.responses(methods)
    statuses = [response.status for response in responses]
    assert len(statuses) == len(case.expect), (statuses, client.output())
    for response, wanted in zip(responses, case.expect):
        if isinstance(wanted, Seen):
            check_answer(case, response, wanted)
        else:
            check_error(response, wanted)
    assert len(app.seen) == len(expected), [scope["raw_path"] for scope, _ in app.seen]
    for (scope, body), wanted in zip(app.seen, expected):
        check_seen(scope, body, wanted)
    assert client.ended == case.ends, client.output()
    if client.ended and responses:
        assert responses[-1].says_close
    assert not any(response.says_close for response in responses[:-1])


def check_answer(case: Case, response: harness.Response, wanted: Seen) -> None:
    assert response.status == 200
    assert response.complete
    assert not response.interim or case.continues
    assert [interim.status for interim in response.interim] in ([], [100])
    if wanted.method == "HEAD":
        assert response.body == b""
    else:
        raw_path = wanted.raw_path if wanted.raw_path is not None else wanted.path and wanted.path.encode()
        if raw_path is not None:
            assert response.body == answer(wanted.method, raw_path, wanted.body)


def check_error(response: harness.Response, wanted) -> None:
    """An error of the server: short text with a length, and the connection is said to close."""
    assert response.status in (wanted if isinstance(wanted, tuple) else (wanted,))
    assert response.complete
    assert response.says_close
    assert not response.interim
    assert response.get(b"content-type").startswith(TEXT)
    assert 0 < int(response.get(b"content-length")) < 200
    assert response.body.strip()
    if response.status == 426:
        assert response.get(b"upgrade") == b"websocket"  # RFC 9110 section 15.5.22
        assert b"upgrade" in tokens(response.get_all(b"connection"))  # RFC 9110 section 7.8
        assert response.get(b"sec-websocket-version") == b"13"  # RFC 6455 section 4.2.2


def check_seen(scope: dict, body: bytes, wanted: Seen) -> None:
    assert scope["type"] == "http"
    assert scope["method"] == wanted.method
    if wanted.path is not None:
        assert scope["path"] == wanted.path
        assert scope["raw_path"] == (wanted.path.encode() if wanted.raw_path is None else wanted.raw_path)
    assert scope["query_string"] == wanted.query
    assert body == wanted.body
    headers = [tuple(pair) for pair in scope["headers"]]
    assert scope["http_version"] == wanted.version if wanted.version else scope["http_version"] in ("1.0", "1.1")
    if wanted.headers is not None:
        assert headers == list(wanted.headers)
    for pair in wanted.has:
        assert pair in headers
    assert not set(wanted.lacks) & {name for name, _ in headers}


def splits(data: bytes):
    if len(data) < SPLIT_ALL_BELOW:
        return range(1, len(data))
    step = len(data) // 16
    return sorted({1, 2, *range(step, len(data), step), len(data) - 2, len(data) - 1})


def single_bytes(data: bytes):
    """One byte at a time, but of long runs of one byte only the ends, so that large inputs stay quick."""
    at = 0
    while at < len(data):
        end = at + 1
        if len(data) >= SPLIT_ALL_BELOW:
            run = data[at : at + 1] * 256
            while data[end : end + 256] == run:
                end += 256
        yield data[at:end]
        at = end


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)


def test_corpus_is_large():
    assert len(CASES) >= 250


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whole(stack, case):
    client = converse(stack, case, [case.data])
    if client.ended:
        # Whatever comes behind the end is dropped, and the connection does not linger for ever.
        output = client.output()
        client.feed(GET).advance(5)
        assert client.transport.lost
        assert client.output() == output


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_byte_by_byte(stack, case):
    converse(stack, case, single_bytes(case.data))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_split(stack, case):
    for at in splits(case.data):
        try:
            converse(stack, case, [case.data[:at], case.data[at:]])
        except AssertionError as error:
            raise AssertionError(f"cut at {at} of {len(case.data)}") from error
