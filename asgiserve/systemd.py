"""What systemd hands to a service, and what it wants to hear from it: socket activation and notifications.

Both are small and documented protocols, that other supervisors speak too (podman, for one): environment variables,
and lines of text in datagrams. Nothing here knows what is served.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import Mapping, MutableMapping, Optional

from .addresses import BindError, Inherited

logger = logging.getLogger("asgiserve.error")

_FIRST = 3
"""The number of the first descriptor that is passed."""
_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
_PATIENCE = 0.5
"""Seconds that the other side may take to make room for a message."""


def take_sockets(environ: MutableMapping[str, str]) -> list[Inherited]:
    """The sockets that were passed to this process, with their names. The variables that say so are removed, so that
    no child process takes the sockets for its own.

    Raises :class:`asgiserve.addresses.BindError` for variables that make no sense.
    """
    pid, _, count, names = (environ.pop(name, "") for name in _VARIABLES)
    if not pid or not count:
        return []
    if not _is_number(pid) or not _is_number(count) or int(count) > 1024:
        raise BindError(f"Cannot take the sockets of systemd: LISTEN_PID={pid!r}, LISTEN_FDS={count!r}")
    if int(pid) != os.getpid():
        logger.warning(
            "LISTEN_FDS is not for this process (%d) but for process %s: no sockets are taken. A command that starts"
            " the server should exec it.",
            os.getpid(),
            pid,
        )
        return []
    labels = names.split(":") if names else []
    labels += [""] * (int(count) - len(labels))
    passed = [Inherited(_FIRST + n, "" if labels[n] == "unknown" else labels[n]) for n in range(int(count))]
    for address in passed:
        try:
            os.set_inheritable(address.fd, False)
        except OSError as exc:
            raise BindError(f"Cannot take the sockets of systemd: {address} of {count}: {exc.strerror}") from None
    return passed


class Notifier:
    """Tells systemd how the service is doing; does nothing unless ``$NOTIFY_SOCKET`` names who listens.

    A message that cannot be delivered is one warning in the log, and no reason to stop serving.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._interval = _watchdog_interval(environ) if self._address is not None else None
        self._status = ""
        self._is_up = False
        self._timer: Optional[asyncio.TimerHandle] = None
        self._warned = False

    def ready(self, loop: asyncio.AbstractEventLoop, status: str) -> None:
        """The service is up. From now on `loop` also feeds the watchdog, where there is one, until :meth:`close`: twice
        as often as asked for, and only as long as the loop goes round."""
        self._status = status
        self._is_up = True
        self._tell("READY=1", f"STATUS={status}")
        if self._interval is not None and self._timer is None:
            self._feed(loop, self._interval)

    def reloading(self) -> None:
        """The service reads its configuration again; :meth:`reloaded` has to follow."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The service has read its configuration, and is up as before."""
        self._tell("READY=1", f"STATUS={self._status}")

    def stopping(self, status: str) -> None:
        """The service stops. The watchdog goes on, so that one that hangs is seen."""
        if self._is_up:  # else it may be the next one of a service that goes on
            self._tell("STOPPING=1", f"STATUS={status}")

    def hand_over(self, pid: int) -> None:
        """Another process is the service from now on; nothing more is told by this one."""
        self._tell(f"MAINPID={pid}")
        self._address = None
        self.close()

    def close(self) -> None:
        """Stops feeding the watchdog."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _feed(self, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self._timer = loop.call_later(interval, self._feed, loop, interval)
        self._tell("WATCHDOG=1", patience=0)

    def _tell(self, *lines: str, patience: float = _PATIENCE) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(patience)
                sock.connect(self._address)
                sock.send("\n".join(lines).encode("utf-8", "replace"))
        except OSError as exc:
            if not self._warned:
                self._warned = True
                logger.warning("Cannot notify systemd ($NOTIFY_SOCKET): %s", exc.strerror or exc)


def _address(text: str) -> Optional[str]:
    if not text:
        return None
    if text[0] in "/@" and len(text) > 1 and hasattr(socket, "AF_UNIX"):
        return "\0" + text[1:] if text[0] == "@" else text
    logger.warning("$NOTIFY_SOCKET is not an address that can be served here: %r", text)
    return None


def _watchdog_interval(environ: Mapping[str, str]) -> Optional[float]:
    """Seconds between two signs of life; None where nobody waits for them."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit or (pid and pid != str(os.getpid())):
        return None
    if not _is_number(limit) or int(limit) == 0:
        logger.warning("$WATCHDOG_USEC is not a number of microseconds: %r", limit)
        return None
    return int(limit) / 2e6


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
