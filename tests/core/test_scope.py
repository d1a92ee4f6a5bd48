"""The HTTP scope (ASGI HTTP spec 2.5, "HTTP Connection Scope")."""

from __future__ import annotations

import copy
import gc
import os
import random
import sys
import urllib.parse
import weakref

import http2_peer
import pytest
from harness import GET, request, serve

from core.apps import echo, hello

KEYS = {
    "type", "asgi", "http_version", "server", "client", "scheme", "method", "root_path", "path", "raw_path",
    "query_string", "headers", "state", "extensions",
}  # fmt: skip


def scope_of(stack, data=GET, **options):
    client = serve(stack, echo, **options)
    client.feed(data)
    assert client.response().status == 200
    return client.scopes[0]


def test_keys_and_types(stack):
    scope = scope_of(stack)
    assert type(scope) is dict
    assert set(scope) == KEYS
    assert all(type(key) is str for key in scope)
    assert scope["type"] == "http"
    assert type(scope["method"]) is str
    assert type(scope["path"]) is str
    assert type(scope["raw_path"]) is bytes
    assert type(scope["query_string"]) is bytes


def test_versions(stack):
    assert scope_of(stack)["asgi"] == {"version": "3.0", "spec_version": "2.5"}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_version(stack, version):
    assert scope_of(stack, request(version=version))["http_version"] == version


def test_scheme(stack):
    assert scope_of(stack)["scheme"] == "http"
    assert scope_of(stack, extra={"sslcontext": object()})["scheme"] == "https"


def test_path_is_decoded_and_raw_path_is_not(stack):
    scope = scope_of(stack, request(target="/a%20b/%E2%82%AC%2F?x=%20"))
    assert scope["path"] == "/a b/\u20ac/"
    assert scope["raw_path"] == b"/a%20b/%E2%82%AC%2F"
    assert scope["query_string"] == b"x=%20"


def test_percent_encoding_is_decoded_as_the_standard_library_does(part):
    unquote = part("scope").unquote
    texts = [b"", b"%", b"%%", b"a%", b"%4", b"%4g", b"%zz%41", b"%41%4", b"%2541", b"% 41", b"%+1", b"%1_", b"%%41"]
    texts += [b"%%%02x%%%02X" % (code, code) for code in range(256)]
    for text in texts:
        assert unquote(text) == urllib.parse.unquote_to_bytes(text), text


@pytest.mark.parametrize(("target", "query"), [("/", b""), ("/?", b""), ("/?a", b"a"), ("/?a?b", b"a?b")])
def test_query_string(stack, target, query):
    assert scope_of(stack, request(target=target))["query_string"] == query


def test_root_path_is_a_prefix_of_path_only(stack):
    scope = scope_of(stack, request(target="/x%41"), root_path="/api")
    assert scope["root_path"] == "/api"
    assert scope["path"] == "/api/xA"
    assert scope["raw_path"] == b"/x%41"
    scope = scope_of(stack)
    assert scope["root_path"] == ""
    assert scope["path"] == "/"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/api/"),
        ("/x", "/api/x"),
        # A proxy that forwards the path as it is: it is there already.
        ("/api", "/api"),
        ("/api/", "/api/"),
        ("/api/x", "/api/x"),
        ("/%61pi/x", "/api/x"),
        # Only whole segments count.
        ("/apis", "/api/apis"),
        ("/API/x", "/api/API/x"),
    ],
)
def test_root_path_is_not_put_in_front_twice(stack, target, path):
    scope = scope_of(stack, request(target=target), root_path="/api")
    assert (scope["path"], scope["raw_path"]) == (path, target.encode())


def test_root_path_and_the_asterisk(stack):
    assert scope_of(stack, request("OPTIONS", "*"), root_path="/api")["path"] == "*"


def test_headers(stack):
    scope = scope_of(stack, request("GET", "/", "X-A: 1", "Accept: */*", "x-a: 2", "X-EMPTY:"))
    assert [tuple(pair) for pair in scope["headers"]] == [
        (b"host", b"h"),
        (b"x-a", b"1"),
        (b"accept", b"*/*"),
        (b"x-a", b"2"),
        (b"x-empty", b""),
    ]
    assert all(type(name) is bytes and type(value) is bytes for name, value in scope["headers"])


def test_no_headers(stack):
    assert list(scope_of(stack, request(version="1.0", host=None))["headers"]) == []


@pytest.mark.parametrize(
    ("peername", "client"),
    [
        (("10.0.0.1", 1234), ("10.0.0.1", 1234)),
        (("::1", 1234, 0, 0), ("::1", 1234)),
        (None, None),
        ("", None),
        (b"", None),
    ],
)
def test_client(stack, peername, client):
    found = scope_of(stack, extra={"peername": peername})["client"]
    assert (found and tuple(found)) == client
    if found:
        assert (type(found[0]), type(found[1])) == (str, int)


@pytest.mark.parametrize(
    ("sockname", "server"),
    [
        (("10.0.0.1", 80), ("10.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        ("/run/app.sock", ("/run/app.sock", None)),
        (b"\0abstract", ("\0abstract", None)),
        (None, None),
    ],
)
def test_server(stack, sockname, server):
    found = scope_of(stack, extra={"sockname": sockname})["server"]
    assert (found and tuple(found)) == server


def test_state_is_a_shallow_copy(stack):
    shared = []
    mine = {"shared": shared}
    client = serve(stack, hello, lifespan_state=mine)
    client.feed(GET).feed(GET)
    first, second = client.scopes
    assert first["state"] == {"shared": shared}
    assert first["state"]["shared"] is second["state"]["shared"] is shared
    assert len({id(first["state"]), id(second["state"]), id(mine)}) == 3


def test_state_is_read_when_the_request_comes(stack):
    client = serve(stack, hello)
    client.feed(GET)
    client.state.lifespan_state = {"late": 1}
    client.feed(GET)
    assert [scope["state"] for scope in client.scopes] == [{}, {"late": 1}]


def test_nothing_mutable_is_shared(stack):
    """C4: what an application does to its scope never shows in another request."""
    seen = []

    async def vandal(scope, receive, send):
        seen.append(copy.deepcopy(scope))
        scope["asgi"]["version"] = "9"
        scope["extensions"]["x"] = {}
        for extension in scope["extensions"].values():
            extension["y"] = 1
        scope["state"]["z"] = 1
        scope["headers"] = list(scope["headers"])
        scope["headers"].append((b"evil", b"1"))
        scope["headers"].clear()
        scope.pop("path")
        scope["new"] = 1
        await hello(scope, receive, send)

    client = serve(stack, vandal)
    client.feed(GET * 2).feed(GET)
    client.connect().feed(GET)
    assert len(seen) == 4
    assert all(scope == seen[0] for scope in seen)


class Thing(dict):
    """Something of an application's: looks like any dictionary, and can be watched."""


def replace(key):
    def damage(scope, thing):
        scope[key] = thing

    return damage


def replace_inside(key, inner):
    def damage(scope, thing):
        scope[key][inner] = thing

    return damage


def move(key):
    """Delete and set it: then it is the last one."""

    def damage(scope, thing):
        scope[key] = scope.pop(key)

    return damage


def exchange(key):
    """Another dictionary with the same contents, which the application keeps as well."""

    def damage(scope, thing):
        scope[key] = copy.deepcopy(scope[key])
        return scope[key]

    return damage


def take(*keys):
    """The application keeps a part, and puts an equal one in its place."""

    def damage(scope, thing):
        *outer, last = keys
        for key in outer:
            scope = scope[key]
        mine = scope[last]
        scope[last] = copy.deepcopy(mine)
        return mine

    return damage


def rename(scope, thing):
    class Name(str):
        __slots__ = ()

    value = scope.pop("path")
    scope[Name("path")] = value


def put_and_remove(scope, thing):
    scope["user"] = thing
    del scope["user"]


DAMAGES = {
    "nothing": lambda scope, thing: None,
    "put and remove": put_and_remove,
    **{f"replace {key}": replace(key) for key in sorted(KEYS)},
    **{f"exchange {key}": exchange(key) for key in ("asgi", "state", "extensions", "headers")},
    **{f"take {key}": take(key) for key in ("asgi", "state", "extensions", "headers")},
    **{f"move {key}": move(key) for key in ("type", "asgi", "path", "extensions")},
    "put": replace("user"),
    "put in client": lambda scope, thing: scope.update(client=(thing, 1)),
    "put in asgi": replace_inside("asgi", "user"),
    "put in state": replace_inside("state", "user"),
    "put in extensions": replace_inside("extensions", "user"),
    "put in an extension": lambda scope, thing: scope["extensions"]["http.response.pathsend"].update(user=thing),
    "replace a version": replace_inside("asgi", "spec_version"),
    "replace an extension": replace_inside("extensions", "http.response.pathsend"),
    "take an extension": take("extensions", "http.response.pathsend"),
    "put under another name": rename,
    "add headers": lambda scope, thing: scope["headers"].append((b"x", b"y")),
    "clear headers": lambda scope, thing: scope["headers"].clear(),
    "clear": lambda scope, thing: scope.clear(),
    "keep": lambda scope, thing: scope,
    "keep asgi": lambda scope, thing: scope["asgi"],
    "keep state": lambda scope, thing: scope["state"],
    "keep extensions": lambda scope, thing: scope["extensions"],
    "keep an extension": lambda scope, thing: scope["extensions"]["http.response.pathsend"],
    "keep headers": lambda scope, thing: scope["headers"],
}


def mutable_parts(value):
    """The dictionaries and lists in a value, itself among them."""
    if isinstance(value, (dict, list)):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from mutable_parts(item)


class Vandal:
    """Does to each scope what is due, and looks before whether it is like the first one and shares nothing with what
    was kept of others."""

    def __init__(self, *due):
        self.due = [DAMAGES[name] for name in due]
        self.kept = []
        self.things = []
        self.expected = None

    async def __call__(self, scope, receive, send):
        if self.expected is None:
            self.expected = copy.deepcopy(scope)
        assert scope == self.expected
        assert list(scope) == list(self.expected)
        parts = list(mutable_parts(scope))
        assert len({id(part) for part in parts}) == len(parts)
        kept = [part for item in self.kept for part in mutable_parts(item)]
        assert not {id(part) for part in parts} & {id(part) for part in kept}
        if self.due:
            thing = Thing()
            self.things.append(weakref.ref(thing))
            self.kept.append(self.due.pop(0)(scope, thing))
        await hello(scope, receive, send)


@pytest.mark.parametrize("lifespan_state", [{}, {"db": 1}], ids=["no state", "state"])
@pytest.mark.parametrize("before", [0, 2], ids=["first", "third"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_an_application_does_to_its_scope_ends_with_the_request(stack, damage, before, lifespan_state):
    """C4: it does not show in other requests, and does not stay in memory. Some have come before, or none."""
    app = Vandal(*["nothing"] * before, damage)
    client = serve(stack, app, record=False, lifespan_state=lifespan_state)
    for _ in range(before + 1):
        client.feed(GET)
    gc.collect()
    assert {ref() for ref in app.things} == {None}
    client.feed(GET).feed(GET)
    assert [response.status for response in client.responses(["GET"] * (before + 3))] == [200] * (before + 3)
    client.connect().feed(GET)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_applications_do_to_their_scopes_shows(stack, seed):
    chance = random.Random(seed)
    chosen = chance.choices(list(DAMAGES), k=60)
    app = Vandal(*(name for damage in chosen for name in ["nothing"] * chance.randrange(4) + [damage]))
    client = serve(stack, app, record=False)
    for _ in range(300):
        client.feed(GET)
    assert not app.due
    assert [response.status for response in client.responses(["GET"] * 300)] == [200] * 300


def test_a_scope_that_nobody_has_is_used_again(stack):
    """Where references are counted, and the application has run when its task is started."""
    seen = []

    async def app(scope, receive, send):
        seen.append(id(scope))
        await hello(scope, receive, send)

    client = serve(stack, app, record=False)
    peer = http2_peer.connect(stack, app, record=False)
    held = []
    for ask in (lambda: client.feed(GET), peer.get):
        for _ in range(5):
            ask()
            held.append(dict.fromkeys(KEYS))  # takes the place in memory of one that was freed
        if stack.name == "compiled" and sys.version_info >= (3, 12):
            assert len(set(seen)) == 1
        assert len(seen) == 5
        seen.clear()


def test_headers_are_not_shared(stack):
    client = serve(stack, hello)
    client.feed(GET).feed(GET)
    first, second = client.scopes
    if isinstance(first["headers"], list):
        first["headers"].clear()
    assert len(list(second["headers"])) == 1


def test_extensions(stack):
    """C11, E12: announced where they hold, each with a dict."""
    files = {"http.response.pathsend": {}}
    if hasattr(os, "sendfile"):
        files["http.response.zerocopysend"] = {}
    assert scope_of(stack)["extensions"] == {"http.response.early_hint": {}, **files}
    takes_trailers = scope_of(stack, request("GET", "/", "TE: trailers"))
    assert takes_trailers["extensions"] == {"http.response.early_hint": {}, "http.response.trailers": {}, **files}
    assert scope_of(stack, request("GET", "/", "TE: trailers", version="1.0"))["extensions"] == files


def test_only_plain_types(stack):
    """C10."""

    def check(value):
        assert value is None or type(value) in (bytes, str, int, float, bool, list, tuple, dict)
        if isinstance(value, dict):
            value = [*value, *value.values()]
        if isinstance(value, (list, tuple)):
            for item in value:
                check(item)

    scope = scope_of(stack, request("POST", "/", "A: b", body=b"x"))
    check(scope)


def test_transfer_encoding_is_decoded(stack):
    """H14."""
    client = serve(stack, echo)
    client.feed(request("POST", "/", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n")
    assert client.response().body == b"abc"
