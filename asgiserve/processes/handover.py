"""SIGUSR2: a new program of the same command line takes over the listening sockets, and always one of the two serves.

The running program starts the new one with copies of its sockets and one end of a channel; a variable in the
environment says which is which. The new one says that it serves, the old one answers that it has let go, and retires.
Until then the sockets are the old one's: if the new one ends, or takes too long, it goes on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, MutableMapping, NamedTuple, Optional, Sequence

from ..addresses import Address, BindError, Inherited
from ..options import ENV_PREFIX

if TYPE_CHECKING:
    from ..sockets import Listener

logger = logging.getLogger("asgiserve.error")

VARIABLE = ENV_PREFIX + "HANDOVER"

KILL_AFTER = 10.0
"""Seconds that a new program which takes too long gets to end."""

_SERVES, _YOURS = b"s", b"y"

#: What must not be passed on: it is about this process alone.
_PERSONAL = (VARIABLE, "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")


class Handed(NamedTuple):
    """A socket that goes over: what it was asked for with, as text, the slot of the worker whose own it is, if it is,
    and what a UNIX socket's file is known by."""

    address: str
    fd: int
    slot: Optional[int] = None
    file: Optional[Sequence[int]] = None


def describe_sockets(listeners: Iterable[Listener]) -> list[Handed]:
    """What is said of these sockets to the program that gets them."""
    return [
        Handed(str(each.address), each.sock.fileno(), each.slot, None if each.file is None else each.file.identity)
        for each in listeners
    ]


# -- in the new program


class Predecessor:
    """The program that has started this one. ``passed`` are the sockets that it had from systemd.

    Raises :class:`asgiserve.addresses.BindError` for a `text` that makes no sense.
    """

    def __init__(self, text: str) -> None:
        import json  # a program that is not replaced does without

        try:
            found = json.loads(text)
            self.passed = [Inherited(*each) for each in found["passed"]]
            self._sockets = [(_adopt(each[1]), Handed(*each)) for each in found["sockets"]]
            self._channel: Optional[socket.socket] = _adopt(found["channel"])
        except (ValueError, TypeError, KeyError, OSError) as exc:
            raise BindError(f"Cannot take over sockets, {VARIABLE} makes no sense: {exc!r}") from None
        self._has_said = False

    def take(self, address: Address) -> list[tuple[socket.socket, Handed]]:
        """The sockets of that address, if it was one of the other program's."""
        taken = [(sock, handed) for sock, handed in self._sockets if handed.address == str(address)]
        self._sockets = [each for each in self._sockets if each not in taken]
        return taken

    def close_rest(self) -> None:
        """Closes the sockets that nobody has taken."""
        for sock, _ in self._sockets:
            sock.close()
        self._sockets = []

    def has_let_go(self) -> bool:
        """Whether the other program leaves the sockets to this one; the first call tells it that this one serves."""
        if self._channel is None:
            return True
        try:
            if not self._has_said:
                self._channel.send(_SERVES)
                self._has_said = True
            self._channel.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            pass  # it has died, which comes to the same
        self._channel.close()
        self._channel = None
        return True


def _adopt(fd: int) -> socket.socket:
    from ..sockets import from_fd  # which needs this module

    sock = from_fd(fd)
    sock.set_inheritable(False)
    return sock


def find_predecessor(environ: MutableMapping[str, str]) -> Optional[Predecessor]:
    """The program that has started this one to take its place, if one has. Removes the variable that says so.

    Raises :class:`asgiserve.addresses.BindError`.
    """
    text = environ.pop(VARIABLE, "")
    return Predecessor(text) if text else None


# -- in the old program


class Upgrade:
    """Starts this program anew, as it was started itself. To be made before anything changes the environment.

    `let_go` is called with the process id of the new program when that serves, and leaves the sockets to it.
    """

    def __init__(self, let_go: Callable[[int], None]) -> None:
        self._let_go = let_go
        self._command = command_line()
        self._directory = _directory()
        self._environ = {name: value for name, value in os.environ.items() if name not in _PERSONAL}
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._channel: Optional[socket.socket] = None
        self._bound: Optional[float] = None
        self._deadline: Optional[float] = None

    @property
    def is_under_way(self) -> bool:
        """Whether a new program has been started, and has not taken over yet."""
        return self._process is not None

    def begin(self, listeners: Iterable[Listener], passed: Sequence[Inherited], bound: Optional[float]) -> None:
        """Starts the new program; of the sockets `passed` are systemd's. `bound` are the seconds in which a worker has
        to serve: the first one starts alone and the others then, so that the program gets twice as long.

        Says in the log when that is not possible.
        """
        if self.is_under_way:
            return refuse("a new program is starting already")
        if os.getpid() == 1:
            return refuse("this is process 1, whose end is the end of its container; SIGHUP restarts workers")
        import json

        sockets = describe_sockets(listeners)
        mine, theirs = socket.socketpair()
        with theirs:
            found = {"channel": theirs.fileno(), "sockets": sockets, "passed": passed}
            environ = {**self._environ, VARIABLE: json.dumps(found)}
            inherited = (theirs.fileno(), *(handed.fd for handed in sockets))
            try:
                process = subprocess.Popen(self._command, cwd=self._directory, env=environ, pass_fds=inherited)
            except (OSError, ValueError) as exc:
                mine.close()
                return logger.error("Cannot start this program anew: %s; this one goes on", exc)
        mine.setblocking(False)
        self._process, self._channel = process, mine
        self._bound = None if bound is None else 2 * bound
        self._deadline = None if bound is None else time.monotonic() + 2 * bound
        logger.info("Process [%d] is started to take over the sockets", process.pid)
        return None

    def look(self) -> None:
        """Sees how far the new program is, if there is one. To be called a few times a second."""
        process = self._process
        if process is None or self._has_taken_over(process.pid):
            return
        status = process.poll()
        if status is not None:
            from .process import describe_exit  # it takes time to load, and most do not need it

            logger.error("Process [%d] does not serve (%s); this one goes on", process.pid, describe_exit(status))
            self._forget()
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            if self._bound is None:
                process.kill()
                return
            logger.error("Process [%d] does not serve after %g seconds and has to end", process.pid, self._bound)
            process.terminate()
            self._bound, self._deadline = None, time.monotonic() + KILL_AFTER

    def end(self) -> None:
        """This program is to stop, and so is the new one, unless it serves already."""
        process = self._process
        if process is not None and not self._has_taken_over(process.pid):
            logger.info("Process [%d] has to end too", process.pid)
            process.terminate()
            self._forget()

    def _has_taken_over(self, pid: int) -> bool:
        assert self._channel is not None
        try:
            if self._channel.recv(1) != _SERVES:
                return False
        except OSError:  # nothing has come yet, or nothing will
            return False
        logger.info("Process [%d] serves, and this one ends when its clients are done", pid)
        self._let_go(pid)
        with contextlib.suppress(OSError):
            self._channel.send(_YOURS)
        self._forget()
        return True

    def _forget(self) -> None:
        assert self._channel is not None
        assert self._process is not None
        self._channel.close()
        self._process.returncode = self._process.returncode or 0  # how it ends is not our business any more
        self._process = self._channel = None


def refuse(reason: str) -> None:
    """Says in the log why there is no upgrade."""
    logger.warning("SIGUSR2 is refused: %s", reason)


def command_line() -> list[str]:
    """What this program was started with."""
    original: Any = getattr(sys, "orig_argv", None)  # from Python 3.10 on
    if original:
        return [sys.executable, *original[1:]]
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None or spec.name == "__main__":
        return [sys.executable, *flags, *sys.argv]
    name = spec.name[: -len(".__main__")] if spec.name.endswith(".__main__") else spec.name
    return [sys.executable, *flags, "-m", name, *sys.argv[1:]]


def _directory() -> Optional[str]:
    """The current one, by the name that the shell has for it: with links, which may lead elsewhere by then."""
    named = os.environ.get("PWD", "")
    try:
        current = os.getcwd()
        return named if os.path.isabs(named) and os.path.samefile(named, current) else current
    except OSError:
        return None  # it has been removed
