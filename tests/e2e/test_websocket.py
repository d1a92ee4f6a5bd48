"""WebSockets with the client of the `websockets` library, and with bytes of our own where no client would do it."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from .launcher import wait_for
from .websocket_client import UPGRADE, Peer, ask, closing, wait_ended
from .wire import encode

BLOCK = bytes(range(256)) * 256


@pytest.fixture
def server(serve):
    return serve("websocket_app:app")


class TestMessages:
    @pytest.mark.parametrize("compression", [None, "deflate"])
    @pytest.mark.parametrize(
        "message",
        ["", "text", "grüße 🌍\x00", b"", b"\x00\xff", "x" * 125, b"x" * 126, "ü" * 65535, BLOCK, BLOCK * 128],
        ids=["empty", "text", "unicode", "no-bytes", "bytes", "125", "126", "128k", "64k", "8m"],
    )
    def test_echo(self, server, connect, message, compression):
        connection = connect(server, compression=compression, max_size=None)
        for _ in range(2):
            connection.send(message)
            received = connection.recv()
            assert type(received) is type(message)
            assert received == message

    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_fragments(self, server, connect, compression):
        connection = connect(server, compression=compression)
        connection.send(["one ", "two ", "", "grüße"])
        assert connection.recv() == "one two grüße"
        connection.send([b"one ", b"", b"two"])
        assert connection.recv() == b"one two"

    def test_many_in_order(self, server, connect):
        connection = connect(server)
        for number in range(2000):
            connection.send(str(number))
        for number in range(2000):
            assert connection.recv() == str(number)

    def test_ping_is_answered(self, server, connect):
        connection = connect(server)
        for _ in range(3):
            connection.ping(b"payload")

    def test_ping_between_fragments_is_answered_at_once(self, server, dial):
        peer = Peer(dial(server))
        peer.send(peer.frames.send_data("one ", fin=False), peer.frames.ping(b"now"))
        assert peer.next() == (Opcode.PONG, b"now")
        peer.send(peer.frames.send_data("two", fin=True))
        assert peer.next() == (Opcode.TEXT, "one two")

    def test_message_behind_the_handshake(self, server, dial, ours):
        """What comes in the handshake's own segment is not lost."""
        frames = FrameProtocol(client=True, extensions=[])
        peer = Peer(dial(server), behind=frames.send_data("early", fin=True) + frames.ping(b"?"))
        assert sorted([peer.next(), peer.next()]) == [(Opcode.TEXT, "early"), (Opcode.PONG, b"?")]

    def test_handshake_behind_a_request(self, server, dial):
        """A connection that served requests becomes a WebSocket."""
        wire = dial(server)
        assert wire.request("GET", "/").status == 200
        peer = Peer(wire)
        peer.send(peer.frames.send_data("text", fin=True))
        assert peer.next() == (Opcode.TEXT, "text")

    def test_handshake_pipelined_behind_requests(self, server, dial, ours):
        """Their responses come first, and in order."""
        wire = dial(server)
        frames = FrameProtocol(client=True, extensions=[])
        behind = encode("GET", "/echo", None, UPGRADE) + frames.send_data("early", fin=True)
        wire.send(encode("GET", "/") * 3 + behind)
        assert [wire.response().status for _ in range(3)] == [200] * 3
        assert Peer(wire, begin=False).next() == (Opcode.TEXT, "early")

    def test_byte_by_byte(self, server, dial):
        wire = dial(server)
        frames = FrameProtocol(client=True, extensions=[])
        for byte in encode("GET", "/echo", None, UPGRADE):
            wire.send(bytes([byte]))
        peer = Peer(wire, begin=False)
        for byte in frames.send_data("grüße", fin=True):
            wire.send(bytes([byte]))
        assert peer.next() == (Opcode.TEXT, "grüße")

    def test_large_output_to_a_slow_reader(self, server, connect):
        """Backpressure: 64 MiB, of which the client first takes nothing."""
        connection = connect(server, "/flood?n=1024&size=65536", compression=None, max_queue=1)
        for number in range(1024):
            assert connection.recv() == bytes([number % 256]) * 65536
        assert closing(connection) == (1000, "")

    def test_the_client_vanishes_from_a_flood(self, server, dial):
        """The application's send() fails, which is nobody's fault: nothing is logged (the fixture looks)."""
        peer = Peer(dial(server, rcvbuf=65536), "/flood?n=100000&size=65536")
        assert peer.next() == (Opcode.BINARY, bytes(65536))
        peer.wire.close()
        assert ask(server, "/") == {"served as": "http"}

    def test_input_waits_for_the_application(self, server, dial, key):
        """Backpressure: while the application takes nothing, the client cannot send for ever; and nothing is lost."""
        peer = Peer(dial(server), f"/hold?key={key}")
        frame = peer.frames.send_data(BLOCK, fin=True)
        peer.wire.sock.settimeout(1.0)
        data, sent = memoryview(frame), 0
        limit = 64 * 2**20 // len(frame)
        with pytest.raises(OSError, match="timed out"):
            while sent < limit:
                while data:
                    data = data[peer.wire.sock.send(data) :]
                sent += 1
                data = memoryview(frame)
        peer.wire.sock.settimeout(20)
        ask(server, f"/go?key={key}")
        peer.send(data, peer.frames.send_data("end", fin=True))
        assert peer.next() == (Opcode.TEXT, json.dumps([sent + 1, (sent + 1) * len(BLOCK)]))


class TestHandshake:
    def test_scope_and_headers(self, server, connect):
        connection = connect(server, "/scope?a=b%20c", additional_headers={"X-Sent": "yes"}, subprotocols=["p", "q"])
        scope = json.loads(connection.recv())
        headers = scope.pop("headers")
        assert ["x-sent", "yes"] in headers
        assert ["host", f"127.0.0.1:{server.port}"] in headers
        extensions = scope.pop("extensions")
        assert "websocket.http.response" in extensions
        assert scope == {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/scope",
            "query_string": "a=b%20c",
            "subprotocols": ["p", "q"],
            "root_path": "",
            "client": "127.0.0.1",
        }
        response = connection.response
        assert response.headers["x-first"] == "1"
        assert response.headers.get_all("set-cookie") == ["a=b", "c=d"]
        assert connection.subprotocol is None

    def test_subprotocol(self, server, connect):
        assert connect(server, "/subprotocol?choose=two", subprotocols=["one", "two"]).subprotocol == "two"

    def test_subprotocol_not_offered(self, serve, refused, ours):
        server = serve("websocket_app:app", tracebacks=True)
        assert refused(server, "/subprotocol?choose=three", subprotocols=["one", "two"]).status_code == 500

    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_compression_is_agreed(self, server, connect, compression):
        names = [extension.name for extension in connect(server, compression=compression).protocol.extensions]
        assert names == ([] if compression is None else ["permessage-deflate"])

    def test_compression_switched_off(self, serve, connect):
        server = serve("websocket_app:app", "--ws-per-message-deflate", "false")
        connection = connect(server, compression="deflate")
        assert connection.protocol.extensions == []
        connection.send("x" * 10000)
        assert connection.recv() == "x" * 10000

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"client_no_context_takeover": True, "server_no_context_takeover": True},
            {"server_max_window_bits": 9, "client_max_window_bits": 9},
            {"server_max_window_bits": 15, "client_max_window_bits": 15},
            {"client_max_window_bits": True},
        ],
    )
    def test_parameters_of_compression(self, server, connect, parameters):
        from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

        factory = ClientPerMessageDeflateFactory(**parameters)
        connection = connect(server, compression=None, extensions=[factory])
        assert [extension.name for extension in connection.protocol.extensions] == ["permessage-deflate"]
        for number in range(50):
            message = json.dumps({"number": number, "text": "the same words again and again " * number})
            connection.send(message)
            assert connection.recv() == message

    @pytest.mark.parametrize(
        "fields",
        [
            [("Upgrade", "WebSocket"), ("Connection", "keep-alive, Upgrade")],
            [("Upgrade", "other, websocket"), ("Connection", "upgrade")],
            [("Upgrade", "websocket"), ("Connection", "keep-alive"), ("Connection", "UPGRADE")],
        ],
        ids=["firefox", "list", "two-fields"],
    )
    def test_spellings_of_upgrade(self, server, dial, ours, fields):
        wire = dial(server)
        wire.send(encode("GET", "/echo", None, [*fields, *UPGRADE[2:]]))
        peer = Peer(wire, begin=False)
        peer.send(peer.frames.send_data("text", fin=True))
        assert peer.next() == (Opcode.TEXT, "text")

    def test_denial_response(self, server, refused):
        response = refused(server, "/deny")
        assert (response.status_code, response.body) == (401, b"not you")
        assert response.headers["x-why"] == "because"

    def test_rejection(self, server, refused):
        assert refused(server, "/reject").status_code == 403

    def test_application_fails(self, serve, refused):
        server = serve("websocket_app:app", tracebacks=True)
        assert refused(server, "/fail").status_code == 500

    def test_wrong_version(self, server, dial, ours):
        fields = [(name, "12" if name == "Sec-WebSocket-Version" else value) for name, value in UPGRADE]
        response = dial(server).request("GET", "/echo", None, fields)
        assert response.status == 426
        assert response.header("sec-websocket-version") == "13"
        assert response.header("upgrade") == "websocket"
        assert ("connection", "upgrade") in response.headers

    @pytest.mark.parametrize("missing", ["Sec-WebSocket-Key", "Sec-WebSocket-Version"])
    def test_incomplete(self, server, dial, ours, missing):
        fields = [field for field in UPGRADE if field[0] != missing]
        wire = dial(server)
        assert wire.request("GET", "/echo", None, fields).status == 400

    @pytest.mark.parametrize("missing", ["Upgrade", "Connection"])
    def test_no_upgrade_is_a_plain_request(self, server, dial, missing):
        fields = [field for field in UPGRADE if field[0] != missing]
        assert json.loads(dial(server).request("GET", "/echo", None, fields).body) == {"served as": "http"}

    def test_switched_off(self, serve, dial):
        server = serve("websocket_app:app", "--ws", "none")
        wire = dial(server)
        assert json.loads(wire.request("GET", "/echo", None, UPGRADE).body) == {"served as": "http"}
        assert wire.request("GET", "/").status == 200

    def test_unix_socket(self, serve, dial):
        peer = Peer(dial(serve("websocket_app:app", uds=True)))
        peer.send(peer.frames.send_data("text", fin=True))
        assert peer.next() == (Opcode.TEXT, "text")


class TestClosing:
    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (3000, "grüße"), (4999, "x" * 123)])
    def test_by_the_client(self, server, connect, key, code, reason):
        connection = connect(server, f"/echo?key={key}")
        connection.close(code, reason)
        assert wait_ended(server, key) == [code, reason]
        assert connection.close_code == code

    def test_without_a_code(self, server, dial, key):
        peer = Peer(dial(server), f"/echo?key={key}")
        peer.send(b"\x88\x80\x00\x00\x00\x00")
        opcode, _ = peer.next()
        assert opcode is Opcode.CLOSE
        assert peer.wire.at_end()
        assert wait_ended(server, key)[0] == 1005

    def test_connection_is_cut(self, server, dial, key, ours):
        peer = Peer(dial(server), f"/echo?key={key}")
        peer.wire.close()
        assert wait_ended(server, key)[0] == 1006

    @pytest.mark.parametrize(
        ("code", "reason", "quoted"), [(1000, "", ""), (1013, "later", "later"), (4000, "grüße", "gr%C3%BC%C3%9Fe")]
    )
    def test_by_the_application(self, server, connect, key, code, reason, quoted):
        connection = connect(server, f"/close?key={key}&code={code}&reason={quoted}")
        connection.send("please")
        assert closing(connection) == (code, reason)

    def test_application_returns(self, server, connect, ours):
        connection = connect(server, "/leave")
        connection.send("please")
        assert closing(connection)[0] == 1000

    def test_application_fails(self, serve, connect, ours):
        connection = connect(serve("websocket_app:app", tracebacks=True), "/fail-later")
        connection.send("please")
        assert closing(connection)[0] == 1011

    @pytest.mark.parametrize(
        ("frames", "code"),
        [
            (b"\x81\x00", 1002),
            (b"\x83\x80\x00\x00\x00\x00", 1002),
            (b"\x91\x80\x00\x00\x00\x00", 1002),
            (b"\x80\x80\x00\x00\x00\x00", 1002),
            (b"\x88\x81\x00\x00\x00\x00\x03", 1002),
            (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),
            (b"\x81\x82\x00\x00\x00\x00\xc3\x28", 1007),
            (b"\x01\x81\x00\x00\x00\x00\xff", 1007),
        ],
        ids=["unmasked", "opcode", "rsv", "continuation", "short-close", "close-1005", "utf-8", "utf-8-fragment"],
    )
    def test_faults_of_the_client(self, server, dial, key, frames, code, ours):
        peer = Peer(dial(server), f"/echo?key={key}")
        peer.send(frames)
        for opcode, payload in iter(peer.next, None):
            if opcode is Opcode.CLOSE:
                assert payload[0] == code
                break
        assert peer.wire.at_end()
        assert wait_ended(server, key)[0] in (code, 1006)

    def test_what_came_before_a_fault_is_served(self, server, dial, ours):
        peer = Peer(dial(server))
        peer.send(peer.frames.send_data("text", fin=True) + b"\x83\x80\x00\x00\x00\x00")
        assert peer.next() == (Opcode.TEXT, "text")
        opcode, payload = peer.next()
        assert (opcode, payload[0]) == (Opcode.CLOSE, 1002)

    @pytest.mark.parametrize("compression", [None, "deflate"])
    def test_message_too_big(self, serve, connect, key, compression):
        server = serve("websocket_app:app", "--ws-max-size", "1000")
        connection = connect(server, f"/echo?key={key}", compression=compression)
        connection.send(b"x" * 1000)
        assert connection.recv() == b"x" * 1000
        connection.send(b"x" * 1001)
        assert closing(connection)[0] == 1009

    def test_too_big_is_seen_in_the_head(self, serve, dial, key, ours):
        """Nothing of the announced payload has to come."""
        peer = Peer(dial(serve("websocket_app:app", "--ws-max-size", "1000")), f"/echo?key={key}")
        peer.send(b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00" + b"\x00" * 4)
        opcode, payload = peer.next()
        assert (opcode, payload[0]) == (Opcode.CLOSE, 1009)

    def test_a_dead_client_is_noticed(self, serve, dial, key, ours):
        server = serve("websocket_app:app", "--ws-ping-interval", "0.25", "--ws-ping-timeout", "0.25")
        peer = Peer(dial(server), f"/echo?key={key}")
        assert peer.next() == (Opcode.PING, b"")
        assert next(event for event in iter(peer.next, None) if event[0] is not Opcode.PING)[1][0] == 1011
        assert peer.wire.at_end()
        assert wait_ended(server, key)[0] in (1006, 1011)

    def test_a_living_client_is_kept(self, serve, connect, dial, ours):
        server = serve("websocket_app:app", "--ws-ping-interval", "0.25", "--ws-ping-timeout", "0.25")
        connection = connect(server, ping_interval=None)
        dead = Peer(dial(server))
        # A client that answers outlives one that does not, which was there as long.
        while dead.next() is not None:
            pass
        connection.send("still here")
        assert connection.recv() == "still here"


class TestShutdown:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
    def test_all_clients_are_told(self, start, library, ours, number):
        """50 open connections get 1012, and the process ends with 0."""
        library("websockets")
        from websockets.asyncio.client import connect as connect_client
        from websockets.exceptions import ConnectionClosed

        server = start("websocket_app:app")

        async def client(ready):
            url = f"ws://127.0.0.1:{server.port}/echo"
            async with connect_client(url, proxy=None, ping_interval=None) as connection:
                await connection.send("text")
                assert await connection.recv() == "text"
                ready.release()
                with pytest.raises(ConnectionClosed) as caught:
                    await connection.recv()
                return caught.value.rcvd.code, caught.value.rcvd_then_sent

        async def main():
            ready = asyncio.Semaphore(0)
            clients = [asyncio.ensure_future(client(ready)) for _ in range(50)]
            for _ in clients:
                await asyncio.wait_for(ready.acquire(), 20)
            server.signal(number)
            return await asyncio.wait_for(asyncio.gather(*clients), 20)

        assert asyncio.run(main()) == [(1012, True)] * 50
        server.stop()

    def test_the_application_is_told(self, start, dial, ours):
        """An application which waits for a message gets websocket.disconnect, and may finish its work."""
        server = start("websocket_app:app")
        peer = Peer(dial(server))
        server.signal(signal.SIGTERM)
        opcode, payload = peer.next()
        assert (opcode, payload[0]) == (Opcode.CLOSE, 1012)
        peer.send(peer.frames.close(1012))
        assert peer.wire.at_end()
        server.stop()

    @pytest.mark.parametrize("loop", ["auto", "asyncio"])
    def test_a_client_that_does_not_read_does_not_block_the_end(self, start, dial, ours, loop):
        """On every loop the application is made to wait, else it would never let go."""
        server = start("websocket_app:app", "--timeout-graceful-shutdown", "1", "--loop", loop)
        peer = Peer(dial(server, rcvbuf=4096), "/flood?n=100000&size=65536")
        server.signal(signal.SIGTERM)
        server.stop(timeout=10)
        peer.wire.close()

    def test_an_application_that_only_sends_is_stopped_quietly(self, start, dial, ours):
        """Its next send() fails, which ends it; the log stays clean (the fixture looks)."""
        server = start("websocket_app:app")
        peer = Peer(dial(server), "/tick")
        assert peer.next() == (Opcode.TEXT, "tick")
        server.signal(signal.SIGTERM)
        for opcode, payload in iter(peer.next, None):
            if opcode is Opcode.CLOSE:
                assert payload[0] == 1012
                break
        wait_for(lambda: "ticker left" in server.stdout(), what="the application is stopped")
        peer.send(peer.frames.close(1012))
        server.stop()

    def test_a_handshake_under_way_is_refused(self, start, dial, ours):
        server = start("websocket_app:app")
        wire = dial(server)
        wire.send(encode("GET", "/undecided", None, UPGRADE))
        assert json.loads(dial(server).request("GET", "/").body)
        server.signal(signal.SIGTERM)
        assert wire.response().status == 503
        server.stop()

    def test_a_client_that_does_not_answer_does_not_block_the_end(self, start, dial, ours):
        server = start("websocket_app:app", "--timeout-graceful-shutdown", "1")
        peer = Peer(dial(server))
        server.signal(signal.SIGTERM)
        assert peer.next()[0] is Opcode.CLOSE
        server.stop(timeout=10)
