"""What a run makes for itself: a folder, and in it the compiled C programs."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NO_COMPILER = "no C compiler was found on PATH: install one (Debian, Ubuntu: apt install gcc libc6-dev)"


class NotCompiled(Exception):
    """A C program could not be compiled; the text says why."""


@functools.cache
def folder() -> Path:
    """A folder that is removed when the program ends."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def write(name: str, content: bytes) -> str:
    """Write a file there and return its path."""
    path = folder() / name
    path.write_bytes(content)
    return str(path)


@functools.cache
def program(source: Path, name: str, *flags: str) -> str:
    """Compile a C file, once per run.

    :param name: of the program.
    :param flags: for the compiler, behind the source.
    :return: the path of the program.
    :raises NotCompiled: there is no compiler, or it failed.
    """
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NotCompiled(NO_COMPILER)
    path = str(folder() / name)
    command = [*compiler.split(), "-O2", "-o", path, str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise NotCompiled(f"{source.name}: {(errors or ['the compiler failed'])[0]}")
    return path
