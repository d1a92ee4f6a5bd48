"""Running a load generator, a C program that is compiled for the run, and reading what it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from .process import ServerFailed, pinned


def parse(line: str) -> dict[str, Any]:
    """One line of a load generator's output.

    :raises ServerFailed: it says that something went wrong.
    """
    if not line.startswith("{"):
        raise ServerFailed((line.strip() or "error: the load generator died").partition(": ")[2])
    found: dict[str, Any] = json.loads(line)
    return found


def finish(popen: subprocess.Popen[Any], limit: float) -> Optional[dict[str, Any]]:
    """The last line of a load generator's output, and its end of input; None when it does not come in time.

    :raises ServerFailed: it says that something went wrong.
    """
    try:
        return parse((popen.communicate(timeout=limit)[0].splitlines() or [""])[-1])
    except subprocess.TimeoutExpired:
        return None


@contextmanager
def running(command: list[str], cpu: int) -> Iterator[subprocess.Popen[Any]]:
    """A load generator at work on one core."""
    with pinned(command, cpu, stdin=subprocess.PIPE) as popen:
        yield popen


def run(command: list[str], cpu: int, limit: float) -> dict[str, Any]:
    """Run a load generator to its end.

    :raises ServerFailed: something went wrong.
    """
    with running(command, cpu) as popen:
        seen = finish(popen, limit)
    if seen is None:
        raise ServerFailed("the load did not end")
    return seen
