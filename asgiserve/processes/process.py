"""One worker process, as the parent sees it: started, told, killed, and known to have ended."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
from multiprocessing import reduction, resource_tracker
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, Callable, Iterator, Optional, Sequence

from ..config import Config
from . import worker
from .board import Board
from .link import Message, WorkerLink, send_loan

logger = logging.getLogger("asgiserve.error")

#: A new interpreter for each worker: what the parent holds stays out of it, on every platform.
_context = multiprocessing.get_context("spawn")


class Handed:
    """Arrives in another process as the socket that it was made of. multiprocessing's own way would let PyPy change the
    mode of the socket; see :func:`..sockets.from_fd`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __reduce__(self) -> tuple[Any, ...]:
        return worker.take_socket, (reduction.DupFd(self._sock.fileno()),)


class WorkerProcess:
    """A process that serves on `sockets`.

    `on_message` is called with each message of the worker, in a thread of its own. With a `board`, others accept from
    the same sockets.

    ``pid`` (int), ``looks_after`` (set of int: slots of others). Raises OSError when the process cannot be started.
    """

    def __init__(
        self,
        config: Config,
        sockets: Sequence[socket.socket],
        on_message: Callable[[Message], None],
        name: str,
        board: Optional[Board] = None,
    ) -> None:
        self.looks_after: set[int] = set()
        self._board = board
        self._seat = None if board is None else board.take()
        # Only a pipe of both directions can carry sockets, where there is such a thing.
        orders, self._orders = _context.Pipe(duplex=os.name == "posix")
        self._news, news = _context.Pipe(duplex=False)
        handed = [Handed(sock) if os.name == "posix" else sock for sock in sockets]
        self._process = _context.Process(
            target=worker.main, args=(config, handed, WorkerLink(orders, news, self._seat)), name=name
        )
        try:
            with _main_module_left_out(config), _signals_held():
                self._process.start()
        except BaseException:
            self._orders.close()
            self._news.close()
            self._leave_board()
            raise
        finally:
            # With these ends open here, nobody would see that the other process has ended.
            orders.close()
            news.close()
        self.pid: int = self._process.pid or 0
        threading.Thread(target=_listen, args=(self._news, on_message), name=f"{name}-news", daemon=True).start()

    def tell(self, order: int) -> None:
        """Sends RETIRE, STOP or HURRY."""
        with contextlib.suppress(OSError):  # it has ended, which is seen soon
            self._orders.send(order)

    def lend(self, slot: int, sockets: Sequence[socket.socket]) -> None:
        """Has the worker accept from the sockets of that slot too, which has no worker; without any, no more."""
        if sockets:
            self.looks_after.add(slot)
        else:
            self.looks_after.discard(slot)
        with contextlib.suppress(OSError):  # it has ended, which is seen soon
            send_loan(self._orders, slot, sockets, self.pid)

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def exit_status(self) -> Optional[int]:
        """None while the process runs; then its exit status, negative for the signal that killed it."""
        return self._process.exitcode

    def close(self) -> None:
        """Lets go of a process that has ended."""
        self._orders.close()
        self._process.close()
        self._leave_board()

    def _leave_board(self) -> None:
        if self._board is not None and self._seat is not None:
            self._board.give_back(self._seat)
            self._seat = None


def open_board() -> Optional[Board]:
    """Where workers that share sockets tell each other how busy they are; None where there can be none."""
    if sys.platform == "win32":
        return None  # its loop cannot wait for a connection without accepting it
    try:
        return Board(_context)
    except OSError as exc:
        logger.warning("The workers cannot share connections evenly: %s", exc)
        return None


@contextlib.contextmanager
def _main_module_left_out(config: Config) -> Iterator[None]:
    """Keeps multiprocessing from running the program's main module again in processes that are started meanwhile.

    It does so for the sake of objects that are defined there. Unless the settings name any, this would only take time
    and memory, and do again what the program does when it starts.
    """
    if b"__main__" in pickle.dumps(config):
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A new process inherits which signals have to wait: those which it cannot handle yet would end it, with a
    traceback for Ctrl+C."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, worker.signals())
    try:
        # A process of multiprocessing's own, which lives as long as all of ours. To start it lets signals through.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, worker.signals())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _listen(news: Connection, on_message: Callable[[Message], None]) -> None:
    try:
        while True:
            on_message(news.recv())
    except (EOFError, OSError):
        pass
    finally:
        news.close()


def describe_exit(status: int) -> str:
    """How a process ended, in a few words: ``exit status 1``, ``killed by SIGSEGV``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
