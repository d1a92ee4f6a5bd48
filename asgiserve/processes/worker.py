"""What runs in a worker process: the server, on the sockets of the parent, linked with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any, Sequence

from ..config import Config
from ..server import Server
from .ending import serve_and_exit
from .link import RETIRE, WorkerLink

#: Signals that a terminal or a service manager may send to all processes at once: what they mean is for the parent
#: to say.
_PARENTS = ("SIGINT", "SIGBREAK", "SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU")


def main(config: Config, sockets: Sequence[socket.socket], link: WorkerLink) -> None:
    """The target of the process; ends it, with an exit status as the command's."""
    for name in _PARENTS:
        if hasattr(signal, name):
            # Not SIG_IGN, which the programs that the application starts would inherit.
            signal.signal(getattr(signal, name), _leave_it)
    if config.reload:
        _take_terminal()
    server = Server(config, link)

    def obey(order: str) -> None:
        if order == RETIRE:
            server.retire()
        else:
            signal.raise_signal(signal.SIGTERM)

    link.open(obey)
    serve_and_exit(server, sockets)


def _take_terminal() -> None:
    """Lets a debugger read from the terminal: multiprocessing gives its processes an empty standard input."""
    with contextlib.suppress(OSError):  # there is none
        sys.stdin = os.fdopen(0, closefd=False)


def _leave_it(number: int, frame: Any) -> None:
    pass
