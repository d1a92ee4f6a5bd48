"""What instruction counts depend on besides the project's code."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version

from .callgrind import valgrind_path

Environment = dict[str, str]


def environment() -> Environment:
    """Names and versions; counts of two runs can be compared where all of them are equal.

    :raises CountFailed: valgrind is missing.
    """
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "interpreter": _digest(),
        "compiler": _first_line([*(sysconfig.get_config_var("CC") or "cc").split(), "--version"]),
        "flags": " ".join(flag for flag in os.environ.get("CFLAGS", "").split() if not flag.startswith("-g")),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "cython": _version("cython"),
        "uvloop": _version("uvloop"),
        "valgrind": _first_line([valgrind_path(), "--version"]),
    }


def differences(before: Environment, now: Environment) -> list[str]:
    """One line for each thing that is not the same."""
    names = dict.fromkeys([*before, *now])
    return [
        f"{name}: {before.get(name) or 'none'} there, {now.get(name) or 'none'} here"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _digest() -> str:
    """Tells builds of the same version apart: the interpreter's own code, wherever that is."""
    shared = sysconfig.get_config_var("LDLIBRARY") or ""
    path = os.path.join(sysconfig.get_config_var("LIBDIR") or "", shared)
    if not shared.endswith(".so") or not os.path.exists(path):
        path = os.path.realpath(sys.executable)
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError:
        return "none"
    return (done.stdout.splitlines() or ["unknown"])[0]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
