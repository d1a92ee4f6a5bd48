"""What runs in a worker process: the server, on the sockets of the parent, linked with it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from typing import Any, Sequence

from ..config import Config
from ..server import Server
from ..sockets import from_fd
from .ending import drain_bound, serve_and_exit
from .link import STOP, WorkerLink

logger = logging.getLogger("asgiserve.error")

_PARENTS = ("SIGINT", "SIGBREAK", "SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU")
"""Signals that a terminal or a service manager may send to all processes at once: what they mean is for the parent
to say."""


def signals() -> set[int]:
    """The signals that wait, where they can, until the worker knows what to do about them."""
    return {getattr(signal, name) for name in (*_PARENTS, "SIGTERM") if hasattr(signal, name)}


def take_socket(descriptor: Any) -> socket.socket:
    """Unpickles what :class:`.process.Handed` has pickled."""
    return from_fd(descriptor.detach())


def main(config: Config, sockets: Sequence[socket.socket], link: WorkerLink) -> None:
    """The target of the process; ends it, with an exit status as the command's."""
    if config.reload:
        _take_terminal()
    server = Server(config, link)

    def stop(number: int, frame: Any) -> None:
        server.should_exit = True  # soon the server has a handler of its own

    for number in signals():
        # Not SIG_IGN, which the programs that the application starts would inherit.
        signal.signal(number, stop if number == signal.SIGTERM else _leave_it)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals())

    def end_alone() -> None:
        logger.error("The parent process has ended, and so does worker process [%d]", os.getpid())
        server.order(STOP)
        bound = drain_bound(config)
        if bound is not None:
            time.sleep(bound)
            # Nobody else is left to do it.
            logger.error("Worker process [%d] does not end in time and kills itself", os.getpid())
            os._exit(1)

    link.open(server.order, server.look_after, end_alone)
    serve_and_exit(server, sockets)


def _take_terminal() -> None:
    """Lets a debugger read from the terminal: multiprocessing gives its processes an empty standard input."""
    with contextlib.suppress(OSError):  # there is none
        sys.stdin = os.fdopen(0, closefd=False)


def _leave_it(number: int, frame: Any) -> None:
    pass
