"""The two stacks, side by side: for the same input the same bytes out and the same scopes in, whatever the input.

The normal suite runs a small, repeatable selection. ASGISERVE_FUZZ=100000 runs that many new examples of each kind; a
failure prints its input, and ASGISERVE_FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import harness
import pytest
from conformance.case import chunked, head
from conformance.test_corpus import CASES
from hypothesis import example, given
from hypothesis import strategies as st

from asgiserve.errors import AppError, ProtocolError
from core.apps import body, hello, start
from core.fuzz import EXAMPLES, FUZZ, choose_seed

SEED = choose_seed(20)
LIMITS = {"limit_request_line": 300, "limit_header_size": 400, "limit_header_fields": 12, "limit_request_body": 200}


class Outcome(NamedTuple):
    """All that a conversation shows."""

    output: bytes
    seen: list
    ended: bool
    aborted: bool
    total: int
    active: int
    warnings: list


class Echo:
    """Reads the body, answers with it as one piece or as a stream; keeps what it saw."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        scope = dict(scope, headers=[tuple(pair) for pair in scope["headers"]])
        content = await harness.receive_body(receive)
        self.seen.append((scope, content))
        if content is None:
            return
        if len(content) % 2:
            await send(start(headers=[(b"x-method", scope["method"].encode())]))
            await send(body(content[:5], True))
            await send(body(content[5:]))
        else:
            await harness.respond(send, content)


class Hello:
    """Answers at once and never reads."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        self.seen.append(scope["raw_path"])
        await hello(scope, receive, send)


def converse(stack, pieces, log, app_type=Echo, **options):
    app = app_type()
    del log.records[:]
    client = harness.serve(stack, app, record=False, **options)
    for piece in pieces:
        client.feed(piece)
    return Outcome(
        client.output(),
        app.seen,
        client.ended,
        client.transport.aborted,
        client.state.total_requests,
        client.state.active,
        log.warnings,
    )


def cuts(data, rng):
    """Ways to cut an input: whole, one cut, some cuts, single bytes."""
    yield [data]
    if len(data) < 2:
        return
    at = rng.randrange(1, len(data))
    yield [data[:at], data[at:]]
    places = sorted({0, len(data), *(rng.randrange(1, len(data)) for _ in range(rng.randrange(2, 9)))})
    yield [data[a:b] for a, b in zip(places, places[1:])]
    if len(data) <= 600:
        yield [data[at : at + 1] for at in range(len(data))]


def compare(stacks, data, rng, log, **options):
    """Both stacks agree for every cut, and every cut gives the same but for 100 (Continue)."""
    outcomes = []
    for pieces in cuts(data, rng):
        one, two = (converse(stack, pieces, log, **options) for stack in stacks)
        assert one == two, pieces
        outcomes.append((pieces, one._replace(output=one.output.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))))
    if options.get("app_type") is not Hello:
        for pieces, outcome in outcomes:
            complete = [seen for seen in outcome.seen if seen[1] is not None]
            whole = [seen for seen in outcomes[0][1].seen if seen[1] is not None]
            assert (outcome.output, complete, outcome.ended) == (outcomes[0][1].output, whole, outcomes[0][1].ended), (
                pieces
            )


# -- mutations of the corpus

SEEDS = sorted({case.data for case in CASES if len(case.data) < 700})
NASTY = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\x7f", b"\x80", b"\xff",
    b"#", b"%", b"?", b"/", b"*", b"0", b"1", b"5", b"9", b"f", b"-", b"+", b"_", b"=", b'"', b"@", b"[", b"]",
    b"x", b"X", b"\r\n ", b"\r\nHost: h", b"\r\nHost: i", b"\r\nContent-Length: 5", b"\r\nContent-Length: 0",
    b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding: x", b"\r\nConnection: close",
    b"\r\nConnection: keep-alive", b"\r\nConnection: upgrade", b"\r\nUpgrade: h2c", b"\r\nUpgrade: websocket",
    b"\r\nExpect: 100-continue", b"\r\nExpect: x", b"\r\nTE: trailers", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/1.2",
    b"HTTP/2.0", b"GET", b"POST", b"HEAD", b"PRI", b"http://h", b"0\r\n\r\n", b"chunked", b"identity",
    b"1\r\nx\r\n", b"99999999999999999999", b"\x16\x03", b"\xef\xbb\xbf", b"A" * 50, b"A: b\r\n" * 6,
]  # fmt: skip


def mutate(data, rng):
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at] + rng.choice(NASTY) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + rng.choice((1, 1, 1, 2, 4, 16)) :]
        elif kind == 2:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + rng.choice(NASTY) + data[at + 1 :]
        elif kind == 4:
            end = rng.randrange(at, min(len(data), at + 40) + 1)
            data = data[:end] + data[at:end] + data[end:]
        elif kind == 5:
            other = rng.choice(SEEDS)
            data = data[:at] + other[rng.randrange(len(other) + 1) :]
        elif at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    return data


@pytest.mark.parametrize("part_of_run", range(4))
def test_mutated_corpus(stacks, server_log, part_of_run):
    rng = random.Random(f"{SEED} {part_of_run}")
    for _ in range((FUZZ or 1600) // 4):
        data = rng.choice(SEEDS)
        if rng.random() < 0.3:
            data += rng.choice(SEEDS)
        data = mutate(data, rng)
        options = LIMITS if rng.random() < 0.3 else {}
        if rng.random() < 0.2:
            options = {**options, "app_type": Hello}
        try:
            compare(stacks, data, rng, server_log, **options)
        except Exception as error:
            raise AssertionError(f"ASGISERVE_FUZZ_SEED={SEED}, input {data!r}, options {options}") from error


def test_the_corpus_itself(stacks, server_log):
    rng = random.Random(SEED)
    for case in CASES:
        for pieces in list(cuts(case.data, rng))[:3]:
            one, two = (converse(stack, pieces, server_log, **case.settings) for stack in stacks)
            assert one == two, case.name


# -- requests made from parts

tchar = st.sampled_from(b"!#$%&'*+-.^_`|~0189AZaz").map(lambda code: bytes([code]))
token = st.lists(tchar, min_size=1, max_size=12).map(b"".join)
any_bytes = st.binary(max_size=12)
value = st.one_of(
    st.binary(max_size=30).map(lambda data: bytes(c for c in data if (c >= 32 and c != 127) or c == 9)),
    any_bytes,
    st.sampled_from(
        [b"close", b"keep-alive", b"upgrade", b"chunked", b"gzip", b"100-continue", b"5", b"0", b"h", b"[::1]:80"]
    ),
)
KNOWN = [
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"TE", b"Upgrade", b"Cookie",
    b"content-length", b"HOST", b"Trailer", b"Accept",
]  # fmt: skip
name = st.one_of(token, st.sampled_from(KNOWN), any_bytes)
colon = st.sampled_from([b": ", b":", b":\t", b" :", b": \t "])
line_end = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
field = st.builds(lambda *parts: b"".join(parts), name, colon, value, line_end)
good_field = st.builds(
    lambda *parts: b"".join(parts), token, colon.filter(lambda c: c[:1] == b":"), value, st.just(b"\r\n")
)
method = st.one_of(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"QUERY", b"CONNECT", b"get", b"X"]), token
)
target = st.one_of(
    st.sampled_from(
        [b"/", b"*", b"/a?b", b"http://h/", b"http://[::1]:80?x", b"h:80", b"//", b"/%ff%", b"http://u@h/"]
    ),
    st.lists(st.sampled_from(b'/?#%:@[]!aZ09\xe9 \x01"<\\').map(lambda code: bytes([code])), max_size=10).map(b"".join),
)
version = st.sampled_from(
    [b"HTTP/1.1"] * 8 + [b"HTTP/1.0"] * 4 + [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1"]
)
space = st.sampled_from([b" "] * 12 + [b"  ", b"\t", b""])
request_line = st.builds(lambda *parts: b"".join(parts), method, space, target, space, version, line_end)
chunk_size = st.one_of(
    st.integers(0, 20).map(lambda n: b"%x" % n),
    st.sampled_from(
        [b"", b"-1", b"0x5", b" 5", b"5 ", b"G", b"00000000000000005", b"0000000000000005", b"ffffffffffffffff"]
    ),
)
extension = st.sampled_from([b""] * 6 + [b";x", b';x="y"', b"; x=y", b" ;x", b";\r", b";\x01"])
chunk = st.one_of(
    st.binary(max_size=20).map(lambda data: b"%x\r\n%b\r\n" % (len(data), data) if data else b""),
    st.builds(lambda *parts: b"".join(parts), chunk_size, extension, line_end, st.binary(max_size=8), line_end),
)
last_chunk = st.builds(
    lambda *parts: b"".join(parts), st.sampled_from([b"0", b"000", b""]), extension, line_end,
    st.lists(st.one_of(good_field, field), max_size=2).map(b"".join), line_end,
)  # fmt: skip
chunks = st.builds(lambda parts, last: b"".join(parts) + last, st.lists(chunk, max_size=4), last_chunk)


def with_length(data, lie):
    return head(b"Content-Length: %d" % max(0, len(data) + lie), line=b"POST / HTTP/1.1") + data


good = st.one_of(
    st.builds(lambda fields: head(*(f[:-2] for f in fields)), st.lists(good_field, max_size=4)),
    st.builds(with_length, st.binary(max_size=40), st.sampled_from([0, 0, 0, -1, 1])),
    chunks.map(chunked),
)
anything = st.builds(
    lambda line, fields, end, rest: line + b"".join(fields) + end + rest,
    request_line, st.lists(st.one_of(st.just(b"Host: h\r\n"), good_field, field), max_size=5), line_end,
    st.one_of(st.just(b""), chunks, any_bytes),
)  # fmt: skip
conversation = st.lists(st.one_of(good, anything, st.sampled_from([b"\r\n", harness.GET])), min_size=1, max_size=4).map(
    b"".join
)


@EXAMPLES
@example(b"", 0, False)
@example(b"\r\n" * 5 + harness.GET, 1, False)
@given(conversation, st.integers(0, 2**32), st.booleans())
def test_generated_requests(stacks, server_log, data, seed, limited):
    compare(stacks, data, random.Random(seed), server_log, **(LIMITS if limited else {}))


# -- the parser twins alone


FACTS = [
    "method", "minor_version", "raw_path", "query", "authority", "headers", "host", "host_count", "length_value",
    "length_count", "transfer_encoding", "connection", "expect", "te",
]  # fmt: skip


def head_facts(one):
    facts = {name: getattr(one, name) for name in FACTS}
    # h11 hands this value on in lower case; check_head() makes it so for both.
    facts["headers"] = [(k, v.lower() if k == b"transfer-encoding" else v) for k, v in one.headers]
    facts["transfer_encoding"] = one.transfer_encoding and one.transfer_encoding.lower()
    if one.length_count > 1 or b"," in (one.length_value or b""):
        # And it folds equal lengths into one in its list; such a head is refused for what was noted of it.
        facts["headers"] = [pair for pair in facts["headers"] if pair[0] != b"content-length"]
    return facts


def check_fast_path(part, data):
    """What a twin parses unchecked is a head whose lines pass the rules, and is what the lines say."""
    rules, head_type = part("rules"), part("head").RequestHead
    found = head_type()
    end = part("parser").HeadParser().parse(data, 0, found, False)
    if not end:
        return False
    assert data[:end].endswith(b"\r\n\r\n")
    lines = data[:end].split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert b"" not in lines[:-2]
    rules.check_request_line(lines[0])
    for line in lines[1:-2]:
        rules.check_field_line(line)
    plain = head_type()
    rules.split_head(data[:end], plain)
    checked = head_type()
    assert part("parser").HeadParser().parse(data, 0, checked, True) == end
    assert head_facts(found) == head_facts(checked) == head_facts(plain)
    return True


def test_fast_path_of_the_corpus(part):
    rng = random.Random(SEED)
    taken = 0
    for data in SEEDS:
        taken += check_fast_path(part, data)
        for _ in range(FUZZ // len(SEEDS) or 3):
            mutated = mutate(data, rng)
            try:
                check_fast_path(part, mutated)
            except (AssertionError, ProtocolError) as error:
                raise AssertionError(repr(mutated)) from error
    assert taken > len(SEEDS) // 4


@EXAMPLES
@given(data=st.one_of(anything, good))
def test_fast_path_of_generated_heads(part, data):
    check_fast_path(part, data)


# -- responses

status = st.one_of(
    st.sampled_from([200, 204, 304, 404, 500]), st.integers(-5, 1100), st.sampled_from([None, "200", True])
)
OWN_FIELDS = [
    b"content-length", b"Content-Length", b"transfer-encoding", b"connection", b"date", b"Server", b"x",
]  # fmt: skip
header_name = st.one_of(
    token,
    st.sampled_from(OWN_FIELDS),
    any_bytes,
    st.sampled_from(["x", None, bytearray(b"x"), memoryview(b"date")]),
)
header_value = st.one_of(
    value, any_bytes, st.sampled_from([b"3", b"10", b"0", b"close, x", "x", None, 5, bytearray(b"x"), b"x" * 5000])
)
no_header = st.sampled_from([(), (b"a",), (b"a", b"b", b"c"), None, b"ab", 5])
header = st.one_of(st.tuples(header_name, header_value), no_header)
good_header = st.tuples(token, st.sampled_from([b"a", b"", b"x" * 300]))
headers = st.lists(st.one_of(good_header, good_header, header), max_size=6)
start_message = st.fixed_dictionaries(
    {
        "type": st.just("http.response.start"),
        "status": st.one_of(st.sampled_from([200, 204, 304]), status),
        "headers": headers,
    },
    optional={"trailers": st.booleans()},
)
body_message = st.fixed_dictionaries(
    {"type": st.just("http.response.body")},
    optional={
        "body": st.one_of(st.binary(max_size=20), st.sampled_from([b"x" * 70000, "x", None, bytearray(b"abc")])),
        "more_body": st.booleans(),
    },
)
trailers_message = st.fixed_dictionaries(
    {"type": st.just("http.response.trailers"), "headers": headers}, optional={"more_trailers": st.booleans()}
)
hint_message = st.fixed_dictionaries(
    {"type": st.just("http.response.early_hint"), "links": st.lists(header_value, max_size=2)}
)
other_message = st.one_of(
    trailers_message, hint_message, st.sampled_from([{}, {"type": "x"}, {"type": None}, {"type": "http.request"}])
)
messages = st.builds(
    lambda first, rest: [*first, *rest],
    st.lists(start_message, max_size=2),
    st.lists(st.one_of(body_message, body_message, other_message, start_message), max_size=6),
)
asked = st.sampled_from(
    [
        harness.GET,
        harness.request("HEAD"),
        harness.request(version="1.0"),
        harness.request("GET", "/", "TE: trailers"),
        harness.request("GET", "/", "Connection: keep-alive", version="1.0"),
        harness.request("GET", "/", "Connection: close"),
    ]
)


def play(stack, log, script, data, catches):
    """Run an application that sends these messages; give all that shows."""
    errors = []

    async def app(scope, receive, send):
        for message in script:
            try:
                await send(message)
            except (AppError, OSError) as error:
                errors.append((type(error).__name__, str(error)))
                if not catches:
                    raise

    del log.records[:]
    client = harness.serve(stack, app, record=False)
    client.feed(data + harness.GET)
    logged = [error if isinstance(error, str) else repr(error) for error in log.take_errors()]
    return client.output(), errors, logged, client.ended, client.transport.aborted, client.state.active


@EXAMPLES
@given(script=messages, data=asked, catches=st.booleans())
def test_generated_responses(stacks, server_log, script, data, catches):
    one, two = (play(stack, server_log, script, data, catches) for stack in stacks)
    assert one == two
    method = data.split(b" ")[0].decode()
    responses = harness.read_responses(one[0], [method, "GET"], True)  # raises for anything that is not HTTP
    assert len(responses) <= 2


def attempt(function, *args):
    try:
        return function(*args)
    except AppError as error:
        return "AppError", str(error)


@EXAMPLES
@given(
    st.lists(st.one_of(good_header, header), max_size=5),
    st.integers(100, 999),
    st.sampled_from([(0, 5), (1, -1), (2, -1), (3, -1), (3, 9)]),
    st.sampled_from([b"", b"connection: close\r\n"]),
    st.binary(max_size=30),
)
def test_wire_twins(stacks, server_log, fields, code, framing, connection, content):
    results = []
    for stack in stacks:
        wire = __import__(stack.HTTPConnection.__module__.replace(".connection", ".wire"), fromlist=["wire"])
        common = wire.CommonFields(b"server: x\r\n", b"extra: y\r\n")
        common.set_date(b"date: now\r\n")
        encoder = wire.ResponseEncoder()
        result = [attempt(encoder.start, code, fields, common), encoder.content_length, bool(encoder.close)]
        if result[0] is None:
            result.append(encoder.finish(framing[0], framing[1], connection, content))
        encoder.start(200, [], common)  # a refused head leaves nothing behind
        result.append(encoder.finish(0, 0, b"", b""))
        result.append(attempt(wire.encode_trailers, fields))
        result.append(attempt(wire.encode_informational, 103, fields))
        result.append(
            [
                wire.has_close(v)
                for _, v in (f for f in fields if isinstance(f, tuple) and len(f) == 2)
                if type(v) is bytes
            ]
        )
        results.append(result)
        if content:
            result.append([wire.encode_chunk(content, False), wire.encode_chunk(content, True)])
        result.append(wire.parse_content_length(content))
    assert results[0] == results[1]
