"""Processes on one core: a server from its start to its end, with its CPU time; a load generator. Linux only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Optional

import psutil

START_LIMIT = 120.0
# Seconds between two looks whether a server listens.
POLL = 0.002
STOP_LIMIT = 5.0


class ServerFailed(Exception):
    """The server did not start, died, or answered wrongly; the text is for the report."""


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def pinned(command: list[str], cpu: int, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A command on one core, with its output as text; it is ended by its pid whatever happens."""
    popen = start_pinned(command, cpu, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        yield popen
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()


def start_pinned(command: list[str], cpu: Optional[int], **options: Any) -> subprocess.Popen[Any]:
    """Start a command on one core, or with None on all of ours: a child inherits the affinity of its parent."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, mine if cpu is None else {cpu})
    try:
        return subprocess.Popen(command, **options)
    finally:
        os.sched_setaffinity(0, mine)


class ServerProcess:
    """Context manager around a server that listens on 127.0.0.1, pinned to one core if `cpu` says so. It is killed in
    the end: some servers take seconds to stop, and nobody waits for what they do then.

    :param command: the full command line.
    :param port: the port it was told to listen on.
    :param cpu: the core for it and all its children; None for any.
    :param root: its working directory.
    """

    def __init__(self, command: list[str], port: int, cpu: Optional[int], root: str) -> None:
        self.command = command
        self.port = port
        self.cpu = cpu
        self.root = root
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, closed in __exit__
        self.popen: Optional[subprocess.Popen[bytes]] = None
        self.members: set[psutil.Process] = set()

    def __enter__(self) -> ServerProcess:
        environment = {**os.environ, "PYTHONPATH": self.root}
        self.popen = start_pinned(
            self.command,
            self.cpu,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.kill()
        self.log.close()

    def _wait_until_ready(self) -> None:
        """Connect until somebody accepts. A connection refused costs nothing, so the pause is short."""
        assert self.popen is not None
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                raise ServerFailed(f"did not start (exit {self.popen.returncode}): {self.last_line()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                self._family()
                return
            except OSError:
                time.sleep(POLL)
        raise ServerFailed(f"not listening after {START_LIMIT:.0f} s: {self.last_line()}")

    def _family(self) -> list[psutil.Process]:
        """The process and all its descendants that still live, also those whose parent is gone by now."""
        assert self.popen is not None
        try:
            parent = psutil.Process(self.popen.pid)
            self.members.update([parent, *parent.children(recursive=True)])
        except psutil.NoSuchProcess:
            pass
        return [process for process in self.members if process.is_running()]

    def pids(self) -> list[int]:
        """The whole family."""
        return [process.pid for process in self._family()]

    def cpu_seconds(self) -> float:
        """User and system time of the whole family so far."""
        total = 0.0
        for process in self._family():
            try:
                times = process.cpu_times()
                total += times.user + times.system
            except psutil.NoSuchProcess:
                pass
        return total

    def memory(self) -> int:
        """Bytes of memory of the whole family; pages shared within it count once."""
        total = 0
        for process in self._family():
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                pass
        return total

    def _signal(self, number: int) -> None:
        for process in self._family():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                pass

    def suspend(self) -> None:
        """Have the whole family do nothing: some servers never rest, and another one is to have the core."""
        self._signal(signal.SIGSTOP)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Have it go on for a while."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.suspend()

    def alive(self) -> bool:
        """Whether the parent process still runs."""
        return self.popen is not None and self.popen.poll() is None

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Where the server dies, its death is the better message than what its client saw of it.

        :raises ServerFailed: that of the block, or that the server died.
        """
        try:
            yield
        except ServerFailed as error:
            if self.alive():
                raise
            raise ServerFailed(f"died: {self.last_line()}") from error

    def log_lines(self) -> int:
        """Lines written to stdout and stderr together."""
        self.log.seek(0)
        return sum(block.count(b"\n") for block in iter(lambda: self.log.read(1 << 20), b""))

    def said(self, text: str) -> bool:
        """Whether the output has this."""
        self.log.seek(0)
        return text.encode() in self.log.read()

    def last_line(self) -> str:
        """The last line of output, for messages."""
        self.log.seek(0)
        lines = self.log.read()[-4096:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def terminate(self) -> None:
        """Ask the parent process to end, and go on."""
        if self.popen is not None:
            self._family()
            self.popen.terminate()

    def wait(self, limit: float) -> bool:
        """Whether the parent process has ended within so many seconds."""
        try:
            return self.popen is None or self.popen.wait(limit) is not None
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> None:
        """End the whole family: politely, then by force. Returns when all are gone."""
        if self.popen is None:
            return
        family = self._family()
        if self.popen.poll() is None:
            self.popen.terminate()
        psutil.wait_procs(family, timeout=STOP_LIMIT)
        self.kill()

    def kill(self) -> None:
        """End the whole family by force. Returns when all are gone."""
        if self.popen is None:
            return
        family = self._family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(family, timeout=STOP_LIMIT)
        self.popen.wait()
        self.popen = None
