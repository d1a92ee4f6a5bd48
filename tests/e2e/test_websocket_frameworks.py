"""WebSockets of Starlette, FastAPI, Django Channels and our own example, as their users write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .websocket_client import closing, wait_ended

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


class TestStarlette:
    @pytest.fixture
    def server(self, serve, library):
        library("starlette")
        return serve("starlette_websocket_app:app", tracebacks=True)

    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, ""), (4321, "grüße")])
    def test_the_client_leaves(self, server, connect, key, code, reason):
        """WebSocketDisconnect has the client's code and reason."""
        connection = connect(server, f"/echo?key={key}")
        connection.send("text")
        assert connection.recv() == "text"
        connection.close(code, reason)
        assert wait_ended(server, key) == [code, reason]

    def test_the_client_vanishes(self, server, connect, key, ours):
        connection = connect(server, f"/echo?key={key}")
        connection.vanish()
        assert wait_ended(server, key)[0] == 1006

    def test_iter_json(self, server, connect, key):
        connection = connect(server, f"/iterate?key={key}", subprotocols=["json"])
        assert connection.subprotocol == "json"
        assert connection.response.headers["x-app"] == "starlette"
        for value in (1, [None, "ü"], {"a": {"b": 0.5}}):
            connection.send(json.dumps(value))
            assert json.loads(connection.recv()) == {"got": value}
        connection.close()
        assert wait_ended(server, key) == "loop ended"

    def test_the_application_closes(self, server, connect):
        assert closing(connect(server, "/close")) == (4001, "enough")

    def test_denial_response(self, server, refused):
        response = refused(server, "/deny")
        assert (response.status_code, response.body) == (401, b"who are you?")

    def test_crash(self, server, connect, ours):
        connection = connect(server, "/crash")
        connection.send("now")
        assert closing(connection)[0] == 1011

    def test_endpoint_under_a_mount(self, server, connect, key):
        connection = connect(server, f"/under/any/counter?key={key}")
        for size in (10, 20):
            connection.send(b"x" * 10)
            assert json.loads(connection.recv()) == {"size": size}
        connection.close(1001)
        assert wait_ended(server, key) == 1001

    def test_no_route(self, server, refused):
        assert refused(server, "/nowhere").status_code == 403


class TestFastAPI:
    @pytest.fixture
    def server(self, serve, library):
        library("fastapi")
        return serve("fastapi_websocket_app:app", tracebacks=True)

    def test_room(self, server, connect):
        first = connect(server, "/rooms/1?token=ann")
        first.send("anyone?")
        assert first.recv() == "ann: anyone?"
        second = connect(server, "/rooms/1?token=bob")
        second.send("me")
        assert first.recv() == second.recv() == "bob: me"
        second.close()
        first.send("bye")
        assert first.recv() == "ann: bye"

    def test_http_exception_in_a_dependency(self, server, refused):
        response = refused(server, "/rooms/1")
        assert response.status_code == 403
        assert json.loads(response.body) == {"detail": "no token"}

    def test_http_exception(self, server, refused):
        response = refused(server, "/http-exception")
        assert response.status_code == 418
        assert json.loads(response.body) == {"detail": "no WebSockets here"}

    def test_websocket_exception_before_accepting(self, server, refused):
        assert refused(server, "/rooms/1?token=bad").status_code == 403

    def test_websocket_exception_after_accepting(self, server, connect):
        assert closing(connect(server, "/accepted-exception")) == (1008, "after all")

    def test_validation_error(self, server, refused):
        assert refused(server, "/rooms/one?token=ann").status_code == 403


class TestChannels:
    @pytest.fixture
    def server(self, serve, library):
        library("channels")
        return serve("channels_app:application", tracebacks=True)

    def test_group(self, server, connect):
        ann, bob = (connect(server, "/rooms/blue", subprotocols=["json"]) for _ in range(2))
        assert ann.subprotocol == "json"
        other = connect(server, "/rooms/red")
        for connection, room in ((ann, "blue"), (bob, "blue"), (other, "red")):
            assert json.loads(connection.recv()) == {"joined": f"room_{room}"}
        ann.send(json.dumps({"text": "grüße"}))
        assert json.loads(ann.recv()) == json.loads(bob.recv()) == {"text": "grüße"}
        other.send(json.dumps(1))
        assert json.loads(other.recv()) == 1

    def test_the_client_leaves(self, server, connect, key):
        connection = connect(server, f"/rooms/green?key={key}")
        connection.close(4003)
        assert wait_ended(server, key) == 4003

    def test_the_consumer_closes(self, server, connect):
        connection = connect(server, "/rooms/white")
        connection.send(json.dumps("close"))
        assert closing(connection)[0] == 4002

    def test_text_and_bytes(self, server, connect):
        connection = connect(server, "/echo")
        for message in ("text", b"bytes", "ü" * 70000):
            connection.send(message)
            assert connection.recv() == message

    def test_rejection(self, server, refused):
        assert refused(server, "/reject").status_code == 403

    def test_no_route(self, server, refused):
        assert refused(server, "/nowhere").status_code == 500


class TestExample:
    """examples/chat.py, which has no framework."""

    @pytest.fixture
    def server(self, serve):
        return serve("chat:app", "--app-dir", str(EXAMPLES))

    def test_chat(self, server, connect, dial):
        assert b"new WebSocket" in dial(server).request("GET", "/").body
        ann = connect(server, "/chat")
        assert ann.recv() == "somebody came, we are 1"
        bob = connect(server, "/chat")
        assert ann.recv() == bob.recv() == "somebody came, we are 2"
        bob.send("hello")
        assert ann.recv() == bob.recv() == "hello"
        bob.close()
        assert ann.recv() == "somebody left, we are 1"

    def test_elsewhere(self, server, refused):
        assert refused(server, "/").status_code == 403
