"""What forwarding headers make of a scope, and when they make nothing of it."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgiserve.middleware.proxy_headers import ProxyHeaders, ProxyHeadersMiddleware, clean_prefix
from asgiserve.options import FORWARDING_HEADERS
from asgiserve.trust import TrustedPeers

from .serving import Client, run, serving

LOCAL = "127.0.0.1,::1"
PROXIES = "127.0.0.1,10.0.0.0/8"


def scope_with(*fields, **changes):
    """The scope of a request from 127.0.0.1 with these header lines."""
    pairs = [field.partition(":")[::2] for field in ("Host: app.internal", *fields)]
    scope = {
        "type": "http",
        "scheme": "http",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "root_path": "",
        "path": "/x",
        "raw_path": b"/x",
        "headers": [(name.lower().encode(), value.strip().encode("latin-1")) for name, value in pairs],
    }
    return {**scope, **changes}


def changed(*fields, trusted=LOCAL, headers=FORWARDING_HEADERS, **changes):
    """What the headers change in the scope; `host` stands for the Host header."""
    before = scope_with(*fields, **changes)
    after = copy.deepcopy(before)
    ProxyHeaders(TrustedPeers(trusted), headers)(after)
    found = {key: after[key] for key in after if after[key] != before[key] and key != "headers"}
    host, old_host = (dict(scope["headers"]).get(b"host") for scope in (after, before))
    if host != old_host:
        found["host"] = host.decode()
    rest = [[pair for pair in scope["headers"] if pair[0] != b"host"] for scope in (after, before)]
    assert rest[0] == rest[1]
    return found


def client_of(*fields, trusted=PROXIES):
    return changed(*fields, trusted=trusted).get("client")


# -- the client


@pytest.mark.parametrize(
    ("value", "trusted", "client"),
    [
        ("9.9.9.9", PROXIES, ("9.9.9.9", 0)),
        ("9.9.9.9:1234", PROXIES, ("9.9.9.9", 1234)),
        ("[2001:db8::1]:1234", PROXIES, ("2001:db8::1", 1234)),
        ("2001:db8::1", PROXIES, ("2001:db8::1", 0)),
        ("9.9.9.9, 10.0.0.1", PROXIES, ("9.9.9.9", 0)),
        ("9.9.9.9,10.0.0.1 ,\t10.0.0.2", PROXIES, ("9.9.9.9", 0)),
        ("8.8.8.8, 9.9.9.9, 10.0.0.1", PROXIES, ("9.9.9.9", 0)),
        ("10.0.0.9, 9.9.9.9, 10.0.0.1:80", PROXIES, ("9.9.9.9", 0)),
        # All are trusted: the client is a proxy itself, or on the same machine.
        ("10.0.0.2, 10.0.0.1", PROXIES, ("10.0.0.2", 0)),
        ("127.0.0.1", PROXIES, ("127.0.0.1", 0)),
        # Everybody is trusted.
        ("8.8.8.8, 9.9.9.9, 10.0.0.1", "*", ("8.8.8.8", 0)),
        ("8.8.8.8:5, 9.9.9.9", "10.0.0.0/8,*", ("8.8.8.8", 5)),
        # Nothing said.
        ("", PROXIES, None),
        (" , ,", PROXIES, None),
        (", 9.9.9.9 ,", PROXIES, ("9.9.9.9", 0)),
        # Nobody known. What stands further left is not believed.
        ("9.9.9.9, unknown", PROXIES, ("unknown", 0)),
        ("9.9.9.9, _hidden, 10.0.0.1", PROXIES, ("_hidden", 0)),
        ('9.9.9.9, " - "GET /admin', PROXIES, ("unknown", 0)),
        ("somebody, 10.0.0.1", PROXIES, ("somebody", 0)),
        ("9.9.9.9, somebody", "127.0.0.1,somebody", ("9.9.9.9", 0)),
    ],
)
def test_x_forwarded_for(value, trusted, client):
    assert client_of(f"X-Forwarded-For: {value}", trusted=trusted) == client


def test_repeated_fields_are_one_list():
    fields = ("X-Forwarded-For: 8.8.8.8", "X-Forwarded-For: 9.9.9.9", "X-Other: 1", "X-Forwarded-For: 10.0.0.1")
    assert client_of(*fields) == ("9.9.9.9", 0)
    assert client_of(*fields, trusted="*") == ("8.8.8.8", 0)
    assert client_of("Forwarded: for=8.8.8.8", "Forwarded: for=9.9.9.9", "Forwarded: for=10.0.0.1") == ("9.9.9.9", 0)
    assert client_of('Forwarded: for="8.8.8.8', "Forwarded: for=9.9.9.9") == ("9.9.9.9", 0)


@pytest.mark.parametrize(
    ("value", "trusted", "client"),
    [
        ("for=9.9.9.9", PROXIES, ("9.9.9.9", 0)),
        ('for="[2001:db8::1]:1234"', PROXIES, ("2001:db8::1", 1234)),
        ("for=8.8.8.8, for=9.9.9.9, for=10.0.0.1", PROXIES, ("9.9.9.9", 0)),
        ("for=10.0.0.2, for=10.0.0.1", PROXIES, ("10.0.0.2", 0)),
        ("for=8.8.8.8, for=9.9.9.9", "*", ("8.8.8.8", 0)),
        ("for=9.9.9.9, for=unknown", PROXIES, ("unknown", 0)),
        ("for=9.9.9.9, for=_hidden;by=10.0.0.1", PROXIES, ("_hidden", 0)),
        # A proxy that says nothing of the client.
        ("proto=https", PROXIES, None),
        ("for=9.9.9.9, proto=https", PROXIES, ("unknown", 0)),
        ("for=9.9.9.9, nonsense", PROXIES, ("unknown", 0)),
        ("nonsense", PROXIES, ("unknown", 0)),
        ("", PROXIES, None),
    ],
)
def test_forwarded_for(value, trusted, client):
    assert client_of(f"Forwarded: {value}", trusted=trusted) == client


# -- the scheme


@pytest.mark.parametrize("family", ["X-Forwarded-Proto: {}", "Forwarded: proto={}"])
@pytest.mark.parametrize(
    ("said", "http", "websocket"),
    [
        ("https", "https", "wss"),
        ("HTTPS", "https", "wss"),
        ("wss", "https", "wss"),
        ("http", "http", "ws"),
        ("ws", "http", "ws"),
        ("ftp", "http", "ws"),
        ("httpsx", "http", "ws"),
        ("", "http", "ws"),
    ],
)
def test_scheme(family, said, http, websocket):
    field = family.format(said)
    for kind, before, after in (("http", "http", http), ("websocket", "ws", websocket)):
        found = changed(field, type=kind, scheme=before)
        found.pop("client", None)  # a broken Forwarded hides the client
        assert found == ({} if before == after else {"scheme": after})


def test_scheme_can_become_less():
    assert changed("X-Forwarded-Proto: http", scheme="https") == {"scheme": "http"}
    assert changed("X-Forwarded-Proto: http", type="websocket", scheme="wss") == {"scheme": "ws"}


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        # Lists as long as that of the addresses were made in step with it.
        (["X-Forwarded-For: 9.9.9.9, 10.0.0.1", "X-Forwarded-Proto: https, http"], "https"),
        (["X-Forwarded-For: 8.8.8.8, 9.9.9.9, 10.0.0.1", "X-Forwarded-Proto: http, https, http"], "https"),
        # In any other, only the last entry is surely the nearest proxy's.
        (["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https, http"], None),
        (["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: http, https"], "https"),
        (["X-Forwarded-Proto: http", "X-Forwarded-Proto: https"], "https"),
        (["X-Forwarded-Proto: https, nonsense"], None),
        # Forwarded has them together.
        (["Forwarded: for=9.9.9.9;proto=https, for=10.0.0.1;proto=http"], "https"),
        (["Forwarded: for=8.8.8.8;proto=https, for=9.9.9.9;proto=http, for=10.0.0.1"], None),
        (["Forwarded: for=9.9.9.9, for=10.0.0.1;proto=https"], None),
    ],
)
def test_scheme_of_the_same_hop(fields, scheme):
    assert changed(*fields, trusted=PROXIES).get("scheme") == scheme


# -- host and port


@pytest.mark.parametrize(
    ("fields", "scheme", "host", "server"),
    [
        (["X-Forwarded-Host: example.com"], "http", "example.com", ("example.com", 80)),
        (["X-Forwarded-Host: example.com"], "https", "example.com", ("example.com", 443)),
        (["X-Forwarded-Host: example.com:8080"], "http", "example.com:8080", ("example.com", 8080)),
        (["X-Forwarded-Host: [2001:db8::1]:8080"], "http", "[2001:db8::1]:8080", ("2001:db8::1", 8080)),
        (["X-Forwarded-Host: [2001:db8::1]"], "http", "[2001:db8::1]", ("2001:db8::1", 80)),
        (["X-Forwarded-Host: a.example, b.example"], "http", "b.example", ("b.example", 80)),
        (["X-Forwarded-For: 9.9.9.9, 127.0.0.1", "X-Forwarded-Host: a, b"], "http", "a", ("a", 80)),
        (["X-Forwarded-Host: e", "X-Forwarded-Port: 8443"], "https", "e:8443", ("e", 8443)),
        (["X-Forwarded-Host: e", "X-Forwarded-Port: 443"], "https", "e", ("e", 443)),
        (["X-Forwarded-Host: e:1", "X-Forwarded-Port: 2"], "https", "e:1", ("e", 1)),
        (["X-Forwarded-Host: [::1]", "X-Forwarded-Port: 81"], "http", "[::1]:81", ("::1", 81)),
        (["X-Forwarded-Port: 8080"], "http", "app.internal:8080", ("app.internal", 8080)),
        (["X-Forwarded-Port: 443"], "https", None, ("app.internal", 443)),
        (["X-Forwarded-Port: 443"], "http", "app.internal:443", ("app.internal", 443)),
        (["Forwarded: host=example.com"], "http", "example.com", ("example.com", 80)),
        (['Forwarded: host="example.com:8080";proto=https'], "http", "example.com:8080", ("example.com", 8080)),
        (["Forwarded: host=example.com;proto=https"], "http", "example.com", ("example.com", 443)),
        # No hosts, no ports.
        (["X-Forwarded-Host: "], "http", None, None),
        (["X-Forwarded-Host: a b"], "http", None, None),
        (["X-Forwarded-Host: a/b"], "http", None, None),
        (["X-Forwarded-Host: a@b"], "http", None, None),
        (["X-Forwarded-Host: :80"], "http", None, None),
        (["X-Forwarded-Host: a:99999"], "http", None, None),
        (["X-Forwarded-Host: [1.2.3.4"], "http", None, None),
        (["X-Forwarded-Host: caf\xe9"], "http", None, None),
        (["X-Forwarded-Port: 0"], "http", None, None),
        (["X-Forwarded-Port: 65536"], "http", None, None),
        (["X-Forwarded-Port: http"], "http", None, None),
        (['Forwarded: host=""'], "http", None, None),
    ],
)
def test_host_and_port(fields, scheme, host, server):
    found = changed(*fields, scheme=scheme)
    assert (found.get("host"), found.get("server")) == (host, server)


@pytest.mark.parametrize(
    ("host", "scheme", "port", "expected"),
    [
        ("e:8000", "https", 443, "e"),
        ("e:443", "https", 443, "e:443"),
        ("e:8000", "https", 8443, "e:8443"),
        ("[::1]:8000", "http", 80, "[::1]"),
        ("[::1]", "http", 81, "[::1]:81"),
    ],
)
def test_the_port_alone_corrects_that_of_the_host(host, scheme, port, expected):
    scope = scope_with(f"X-Forwarded-Port: {port}", scheme=scheme)
    scope["headers"][0] = (b"host", host.encode())
    ProxyHeaders(TrustedPeers("*"), FORWARDING_HEADERS)(scope)
    assert scope["headers"][0] == (b"host", expected.encode())
    assert scope["server"][1] == port


def test_a_request_without_host_gets_one_in_front():
    scope = scope_with("X-Forwarded-Host: example.com")
    del scope["headers"][0]
    ProxyHeaders(TrustedPeers("*"), FORWARDING_HEADERS)(scope)
    assert scope["headers"] == [(b"host", b"example.com"), (b"x-forwarded-host", b"example.com")]


@pytest.mark.parametrize(
    ("server", "expected"), [(("10.0.0.1", 80), ("10.0.0.1", 81)), (("/run/s", None), ("/run/s", None)), (None, None)]
)
def test_a_port_without_any_host(server, expected):
    scope = scope_with("X-Forwarded-Port: 81", server=server)
    del scope["headers"][0]
    ProxyHeaders(TrustedPeers("*"), FORWARDING_HEADERS)(scope)
    assert scope["server"] == expected
    assert scope["headers"] == [(b"x-forwarded-port", b"81")]


def test_host_over_a_unix_socket():
    found = changed("X-Forwarded-Host: e", trusted="unix", client=None, server=("/run/s", None))
    assert found == {"host": "e", "server": ("e", 80)}


# -- the prefix


@pytest.mark.parametrize(
    ("said", "root_path", "path"),
    [
        ("/api", "/api", "/api/x"),
        ("/api/", "/api", "/api/x"),
        ("//api//v1//", "/api/v1", "/api/v1/x"),
        ("/a%20b", "/a b", "/a b/x"),
        # The root: nothing to put in front.
        ("/", "", "/x"),
        ("///", "", "/x"),
        # Not a path.
        ("", None, None),
        ("api", None, None),
        ("https://evil.example", None, None),
        ("/api?x", None, None),
        ("/api#x", None, None),
        ("/a b", None, None),
        ("/%zz", None, None),
        ("/a%00b", None, None),
        ("/a%0d%0ab", None, None),
        ("/\\evil.example", None, None),
        ("/%5Cevil.example", None, None),
        ("/../x", None, None),
        ("/a/%2e%2e", None, None),
        ("/caf\xe9", None, None),
    ],
)
def test_prefix(said, root_path, path):
    assert clean_prefix(said) == root_path
    found = changed(f"X-Forwarded-Prefix: {said}", root_path="/old", path="/old/x")
    assert found == ({} if root_path is None else {"root_path": root_path, "path": path})


@pytest.mark.parametrize(
    ("raw_path", "configured", "path", "expected"),
    [
        # The proxy takes the prefix off, or leaves it there.
        (b"/x", "", "/x", "/api/x"),
        (b"/api/x", "", "/api/x", "/api/x"),
        (b"/api", "", "/api", "/api"),
        (b"/", "", "/", "/api/"),
        (b"/apix", "", "/apix", "/api/apix"),
        (b"/%61pi/x%2Fy", "", "/api/x/y", "/api/x/y"),
        # It replaces --root-path, which is about a proxy that does not say so.
        (b"/x", "/api", "/api/x", "/api/x"),
        (b"/x", "/old", "/old/x", "/api/x"),
        # Servers that give no raw_path.
        (None, "", "/x", "/api/x"),
        (None, "", "/api/x", "/api/x"),
        (None, "/old", "/old/x", "/api/x"),
        (None, "/old", "/x", "/api/x"),
    ],
)
def test_prefix_and_path(raw_path, configured, path, expected):
    scope = scope_with("X-Forwarded-Prefix: /api/", raw_path=raw_path, root_path=configured, path=path)
    ProxyHeaders(TrustedPeers("*"), FORWARDING_HEADERS)(scope)
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", expected, raw_path)


# -- who is believed, and what


ALL = (
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: example.com",
    "X-Forwarded-Port: 8443",
    "X-Forwarded-Prefix: /api",
)
FORWARDED = 'Forwarded: for="8.8.8.8:8";proto=https;host=other.example'
FROM_X = {
    "client": ("9.9.9.9", 0),
    "scheme": "https",
    "host": "example.com:8443",
    "server": ("example.com", 8443),
    "root_path": "/api",
    "path": "/api/x",
}
FROM_FORWARDED = {
    "client": ("8.8.8.8", 8),
    "scheme": "https",
    "host": "other.example",
    "server": ("other.example", 443),
}


def test_all_together():
    assert changed(*ALL) == FROM_X
    assert changed(*reversed(ALL)) == FROM_X
    assert changed(FORWARDED) == FROM_FORWARDED


@pytest.mark.parametrize("client", [("10.0.0.1", 5), ("::2", 5), ("localhost", 5), None])
@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("/run/app.sock", None), None])
def test_a_forged_header_changes_nothing(client, server):
    scope = scope_with(*ALL, FORWARDED, client=client, server=server)
    before = copy.deepcopy(scope)
    headers = scope["headers"]
    assert ProxyHeaders(TrustedPeers(LOCAL), FORWARDING_HEADERS)(scope) == ""
    assert scope == before
    assert scope["headers"] is headers


@pytest.mark.parametrize("field", ALL)
def test_the_families_are_never_mixed(field):
    assert changed(field, FORWARDED) == changed(field)
    assert changed(FORWARDED, field) == changed(field)


def test_an_x_header_that_makes_no_sense_still_rules_out_forwarded():
    assert changed("X-Forwarded-For: ,", FORWARDED) == {}


def test_only_the_headers_that_are_chosen_count():
    assert changed(*ALL, FORWARDED, headers=["forwarded"]) == FROM_FORWARDED
    some = ["x-forwarded-for", "x-forwarded-proto"]
    assert changed(*ALL, FORWARDED, headers=some) == {"client": ("9.9.9.9", 0), "scheme": "https"}
    assert changed(FORWARDED, headers=some) == {}
    assert changed(*ALL, FORWARDED, headers=[]) == {}


def test_the_name_for_the_logs():
    proxy_headers = ProxyHeaders(TrustedPeers(LOCAL), FORWARDING_HEADERS)
    assert proxy_headers(scope_with("X-Forwarded-For: 9.9.9.9")) == "9.9.9.9:0"
    assert proxy_headers(scope_with('Forwarded: for="[::2]:5"')) == "::2:5"
    assert proxy_headers(scope_with("X-Forwarded-Proto: https")) == ""
    assert proxy_headers(scope_with()) == ""


def test_long_values_are_not_remembered():
    proxy_headers = ProxyHeaders(TrustedPeers(LOCAL), FORWARDING_HEADERS)
    for _ in range(2):
        assert proxy_headers(scope_with("X-Forwarded-For: " + "9.9.9.9," * 1000)) == "9.9.9.9:0"
    assert proxy_headers._read_again.cache_info().currsize == 0
    for _ in range(2):
        assert proxy_headers(scope_with("X-Forwarded-For: 9.9.9.9")) == "9.9.9.9:0"
    assert proxy_headers._read_again.cache_info().hits == 1


TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40) | st.text(
    st.sampled_from('for=;,"\\ 1.[]:%/ahps'), max_size=40
)


@given(
    st.lists(st.tuples(st.sampled_from(FORWARDING_HEADERS), TEXTS), max_size=8),
    st.sampled_from(["*", LOCAL, "unknown,127.0.0.1"]),
    st.sampled_from(["http", "websocket"]),
)
def test_nothing_raises(fields, trusted, kind):
    scope = scope_with(type=kind, scheme="ws" if kind == "websocket" else "http")
    scope["headers"] += [(name.encode(), value.encode("latin-1")) for name, value in fields]
    ProxyHeaders(TrustedPeers(trusted), FORWARDING_HEADERS)(scope)
    host, port = scope["client"]
    assert host and host.isprintable() and " " not in host and '"' not in host and 0 <= port <= 65535
    assert scope["scheme"] in (("ws", "wss") if kind == "websocket" else ("http", "https"))
    assert 0 < scope["server"][1] <= 65535
    assert scope["path"].startswith(scope["root_path"] + "/")
    assert not scope["path"].startswith("//")
    assert [name for name, _ in scope["headers"]].count(b"host") == 1


# -- as middleware


def through_middleware(scope, **options):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    run(ProxyHeadersMiddleware(app, **options)(scope, "receive", "send"))
    assert seen[0][1:] == ("receive", "send")
    return seen[0][0]


def test_middleware():
    scope = scope_with(*ALL)
    before = copy.deepcopy(scope)
    assert through_middleware(scope)["client"] == ("9.9.9.9", 0)
    assert scope == before
    assert through_middleware(scope_with(*ALL, client=("::1", 1)))["client"] == ("9.9.9.9", 0)
    assert through_middleware(scope_with(*ALL, client=("10.0.0.1", 1)))["client"] == ("10.0.0.1", 1)
    assert through_middleware(scope, trusted_hosts=["10.0.0.1"]) == before
    assert through_middleware(scope, headers=["x-forwarded-proto"])["client"] == ("127.0.0.1", 50000)
    lifespan = {"type": "lifespan"}
    assert through_middleware(lifespan) is lifespan


# -- in the server


async def whoami(scope, receive, send):
    text = "{} {} {}".format(scope["client"][0] if scope["client"] else None, scope["scheme"], scope["path"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text})


@pytest.mark.parametrize("http", ["auto", "h11"])
@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({}, b"9.9.9.9 https /x"),
        ({"forwarded_headers": ",".join(FORWARDING_HEADERS)}, b"9.9.9.9 https /api/x"),
        ({"forwarded_allow_ips": "*"}, b"9.9.9.9 https /x"),
        ({"forwarded_allow_ips": "10.0.0.1"}, b"127.0.0.1 http /x"),
        ({"forwarded_allow_ips": []}, b"127.0.0.1 http /x"),
        ({"proxy_headers": False}, b"127.0.0.1 http /x"),
        ({"forwarded_headers": "x-forwarded-proto"}, b"127.0.0.1 https /x"),
    ],
)
def test_server(http, options, answer, monkeypatch):
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)

    async def main():
        async with serving(whoami, http=http, **options) as server:
            client = await Client.open(server)
            client.writer.write("\r\n".join(["GET /x HTTP/1.1", "Host: h", *ALL, "", ""]).encode())
            found = (await client.answer())[1]
            await client.close()
            return found

    assert run(main()) == answer


@pytest.mark.parametrize(
    ("trusted", "answer"),
    [("unix", b"9.9.9.9 https /x"), ("*", b"9.9.9.9 https /x"), ("127.0.0.1", b"None http /x")],
)
def test_server_on_a_unix_socket(trusted, answer, tmp_path):
    path = str(tmp_path / "s")

    async def main():
        async with serving(whoami, uds=path, forwarded_allow_ips=trusted):
            client = await Client.open(path)
            client.writer.write("\r\n".join(["GET /x HTTP/1.1", "Host: h", *ALL, "", ""]).encode())
            found = (await client.answer())[1]
            await client.close()
            return found

    assert run(main()) == answer
