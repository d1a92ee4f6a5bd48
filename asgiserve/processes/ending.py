"""Serving as the whole purpose of a process: it ends with the server, whatever the application left behind."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from typing import NoReturn, Optional, Sequence

from ..config import Config
from ..drain import CANCEL_GRACE
from ..server import Server

EXIT_INTERRUPTED = 130

MARGIN = 5.0
"""Seconds that a process gets beyond the bounds of the settings, before it is killed."""


def serve_and_exit(server: Server, sockets: Optional[Sequence[socket.socket]] = None) -> NoReturn:
    """Runs the server, then ends the process: with status 0 after a graceful stop, 3 when the server did not start."""
    status = 0
    server.ends_process = True
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except SystemExit as exc:
        if not isinstance(exc.code, int):
            raise
        status = exc.code
    flush_output()
    if server.stuck:
        # What is left behind may hold threads that the interpreter would wait for, for ever.
        logging.shutdown()
        os._exit(status)
    sys.exit(status)


def flush_output() -> None:
    """Without this, output that nobody reads any more would turn the exit status into 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except AttributeError:
            pass  # there is no such stream, as under pythonw


def drain_bound(config: Config, hurried: bool = False) -> Optional[float]:
    """Seconds in which a server that is told to stop, or to hurry, has ended, whatever the application does; None
    without a bound."""
    graceful, lifespan = 0.0 if hurried else config.timeout_graceful_shutdown, config.timeout_lifespan_shutdown
    if graceful is None or lifespan is None:
        return None
    return graceful + CANCEL_GRACE + lifespan + MARGIN
