"""Running the cases under valgrind's callgrind and reading its totals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..cases import CASES
from .exercise import MARK

EXCHANGES = 500
LIMIT = 900.0

NO_VALGRIND = "valgrind was not found on PATH: install it (Debian, Ubuntu: apt install valgrind)"


class CountFailed(Exception):
    """The cases did not run; the text says why."""


def valgrind_path() -> str:
    """Where valgrind is.

    :raises CountFailed: it is not installed.
    """
    path = shutil.which("valgrind")
    if path is None:
        raise CountFailed(NO_VALGRIND)
    return path


def segments(command: list[str], folder: Path, root: Path) -> list[Path]:
    """Run a command that calls :func:`~bench.instructions.exercise.mark` twice per segment.

    :param folder: where valgrind writes.
    :param root: the working directory, from which Python imports.
    :return: for every segment, in order, the file with its costs.
    :raises CountFailed: the command failed.
    """
    # Without a fixed seed, dictionaries of strings differ from run to run.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(root)}
    output = folder / "callgrind"
    options = ["--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={output}"]
    done = subprocess.run(
        [valgrind_path(), *options, *command], cwd=root, env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    if done.returncode:
        raise CountFailed(done.stderr.strip()[-2000:])
    # Every mark writes what was counted since the last one, numbered from 1; odd numbers are what is between segments.
    return [folder / f"callgrind.{2 * number}" for number in range(1, len(list(folder.glob("callgrind.*"))) // 2 + 1)]


def total(file: Path) -> int:
    """All instructions of a segment.

    :raises CountFailed: there is no total in the file.
    """
    found = re.search(r"^totals: (\d+)$", file.read_text(errors="replace"), re.MULTILINE)
    if found is None:
        raise CountFailed(f"no totals in {file}")
    return int(found.group(1))


def count(stack: str, cases: list[str], root: Path, exchanges: int = EXCHANGES) -> dict[str, float]:
    """Instructions per request, by case.

    :param root: the checkout whose ``bench`` and ``asgiserve`` run.
    :raises CountFailed: a case does not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.instructions.exercise", stack, str(exchanges), *cases]
        files = segments(command, Path(folder), root)
        if len(files) != len(cases):
            raise CountFailed(f"{len(files)} segments for {len(cases)} cases")
        return {case: total(file) / (exchanges * CASES[case].responses) for case, file in zip(cases, files)}
