"""A server with all its processes in a group of their own, so that none of them can be overlooked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGUSR2

import pytest

from .launcher import START_TIMEOUT, Server, wait_for

PATIENCE = 2 * START_TIMEOUT


class Group(Server):
    """asgiserve, with worker processes if the options say so. Linux, for what is asked of /proc."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, start_new_session=True, **kwargs)

    def members(self) -> list[int]:
        """The processes that run: the server's own, and all that it has started."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has just ended
                if int(fields[2]) == self.pid and fields[0] not in "ZX":
                    found.append(int(entry.name))
        return found

    @property
    def first(self) -> int:
        """The first process of all: the one that was started, or the one that has taken its place after SIGUSR2."""
        found = re.findall(r"Process \[(\d+)\] serves, and this one ends", self.stderr())
        return int(found[-1]) if found else self.pid

    def open_files(self) -> int:
        """How many files the first process has open."""
        return len(os.listdir(f"/proc/{self.first}/fd"))

    def signal(self, number: int) -> None:
        if self.first == self.pid:
            super().signal(number)
        else:
            os.kill(self.first, number)

    def begin_upgrade(self) -> int:
        """SIGUSR2; the pid of the program that is started."""
        started = re.compile(r"Process \[(\d+)\] is started")
        before = len(started.findall(self.stderr()))
        self.signal(SIGUSR2)
        found = wait_for(lambda: started.findall(self.stderr())[before:], PATIENCE, f"a new program: {self.describe()}")
        return int(found[0])

    def upgrade(self) -> int:
        """The same, and waits until the old program has ended."""
        old, new = self.first, self.begin_upgrade()
        self.wait_said(f"Process [{new}] serves, and this one ends")
        wait_for(lambda: old not in self.members(), PATIENCE, f"the end of {old}: {self.describe()}")
        return new

    def signal_all(self, number: int) -> None:
        """As a terminal does, or a service manager."""
        os.killpg(self.pid, number)

    # -- what the log says

    def serving(self) -> list[int]:
        """The workers that serve, by their pids, the youngest last."""
        log = self.stderr()
        pids = re.findall(r"Worker \d+ \[(\d+)\] serves", log)
        over = set(re.findall(r"Worker \d+ \[(\d+)\] (?:has ended|died)", log))
        over.update(re.findall(r"in place of \[(\d+)\]", log))
        over.update(re.findall(r"Killing worker \d+ \[(\d+)\]", log))
        over.update(re.findall(r"\[(\d+)\] stops", log))
        return [int(pid) for pid in pids if pid not in over]

    def count(self, text: str) -> int:
        return self.stderr().count(text)

    def wait_said(self, text: str, times: int = 1) -> None:
        wait_for(lambda: self.count(text) >= times, PATIENCE, f"{times} x {text!r} in the log of {self.describe()}")

    def wait_up(self) -> None:
        """Until all workers serve."""
        wait_for(lambda: self.count("asgiserve running on") or self.popen.poll() is not None, PATIENCE, "running")
        assert self.popen.poll() is None, self.describe()

    # -- the end

    def wait_over(self, status: int = 0, timeout: float = 30.0) -> None:
        """The server ends in time, with this exit status, and leaves nothing behind."""
        code = self.wait(timeout)
        assert code == status, f"exit code {code}: {self.describe()}"
        if self.first != self.pid:
            wait_for(lambda: self.first not in self.members(), timeout, f"the end of {self.first}: {self.describe()}")
        # What multiprocessing itself has started ends when it sees that nobody is left.
        wait_for(lambda: not self.members(), 5.0, f"no orphan of {self.describe()}")
        if isinstance(self.address, str):
            assert not os.path.exists(self.address)

    def stop(self, number: int = SIGTERM, timeout: float = 30.0) -> None:
        try:
            self.signal(number)
            self.wait_over(timeout=timeout)
            self.check_log()
        finally:
            self.kill()

    def kill(self) -> None:
        """All of them."""
        for pid in self.members():
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait(10)


@pytest.fixture
def group(stack, workdirs):
    """group(app, *options, ...): such a server, up unless ready=False, and ended with a check when the test has not."""
    started: list[Group] = []

    def run(app: str, *options, ready: bool = True, **kwargs) -> Group:
        server = Group(stack.name, app, options, kwargs.pop("workdir", None) or workdirs(), **kwargs)
        started.append(server)
        if ready:
            server.wait_up()
        return server

    try:
        yield run
        for server in started:
            if server.popen.poll() is None:
                server.stop()
    finally:
        for server in started:
            server.kill()
