"""The ceiling: picows under uvloop, a compiled WebSocket listener without ASGI, tasks or queues.

It hands every frame back as it is: no UTF-8 check, no compression.
"""

from __future__ import annotations

import argparse
from typing import Any

import picows
import uvloop

CLOSE = picows.WSMsgType.CLOSE


class Echo(picows.WSListener):  # type: ignore[misc]
    """Sends every frame back."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """Called for every frame."""
        if frame.msg_type == CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Broadcast(picows.WSListener):  # type: ignore[misc]
    """Sends every frame to all connections."""

    peers: set[Any] = set()

    def on_ws_connected(self, transport: Any) -> None:
        """Called after the handshake."""
        self.peers.add(transport)

    def on_ws_disconnected(self, transport: Any) -> None:
        """Called at the end."""
        self.peers.discard(transport)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """Called for every frame."""
        if frame.msg_type == CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        else:
            kind, payload = frame.msg_type, frame.get_payload_as_bytes()
            for peer in self.peers:
                peer.send(kind, payload)


async def serve(listener: type[Any], port: int) -> None:
    """Serve until killed."""
    server = await picows.ws_create_server(
        lambda request: listener(), "127.0.0.1", port, backlog=2048, use_aiofastnet=False
    )
    await server.serve_forever()


def main() -> None:
    """Command line: ``--app echo|broadcast --port N``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--app", choices=["echo", "broadcast"], required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(serve({"echo": Echo, "broadcast": Broadcast}[options.app], options.port))


if __name__ == "__main__":
    main()
