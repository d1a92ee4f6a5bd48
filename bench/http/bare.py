"""A ceiling: an event loop protocol that answers a canned response without looking at the request.

It counts blank lines to know how many requests a read holds, so it serves bodiless requests only.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import Optional, cast

from .canned import canned_response
from .workloads import WORKLOADS, Workload


class CannedProtocol(asyncio.Protocol):
    """Answers every blank line with the same bytes."""

    def __init__(self, response: bytes, close: bool) -> None:
        self.response = response
        self.close = close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        """Write one response per request in one write."""
        self.transport.write(self.response * data.count(b"\r\n\r\n"))
        if self.close:
            self.transport.close()


async def serve(workload: Workload, port: int, context: Optional[ssl.SSLContext] = None) -> None:
    """Serve until killed."""
    response = canned_response(workload)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: CannedProtocol(response, workload.close), "127.0.0.1", port, backlog=2048, ssl=context
    )
    await server.serve_forever()


def main() -> None:
    """Command line: ``--row NAME --port N --loop uvloop|asyncio [--ssl-certfile FILE --ssl-keyfile FILE]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--row", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--ssl-certfile")
    parser.add_argument("--ssl-keyfile")
    options = parser.parse_args()
    context = None
    if options.ssl_certfile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    workload = next(w for w in WORKLOADS if w.name == options.row)
    if options.loop == "uvloop":
        import uvloop

        uvloop.run(serve(workload, options.port, context))
    else:
        asyncio.run(serve(workload, options.port, context))


if __name__ == "__main__":
    main()
