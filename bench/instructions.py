"""Count the machine instructions of a request: ``python -m bench.instructions``. Needs valgrind.

Instructions do not depend on how busy the machine is, so small changes show that a clock cannot see. Every case runs
twice in a process of its own, with different numbers of requests; the difference divided by the difference of the
numbers is the cost of one request, and starting Python cancels out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from asgiserve import _stack

from .cases import CASES
from .driver import Driver

DEFAULT_CASES = ["plaintext", "browser", "post-1k"]
LIMIT = 600.0


def exercise(stack: str, case_name: str, exchanges: int, figures: bool) -> None:
    """What runs under valgrind: one check, then so many exchanges."""
    case = CASES[case_name]
    driver = Driver(_stack.load(stack), case.app, figures)
    driver.check(case)
    driver.run(case, exchanges)
    driver.close()


def _command(stack: str, case: str, exchanges: int, figures: bool) -> list[str]:
    command = [sys.executable, "-m", "bench.instructions", "--exercise", stack, case, str(exchanges)]
    return [*command, "--figures"] if figures else command


def total(stack: str, case: str, exchanges: int, figures: bool) -> int:
    """All instructions of a process with so many exchanges.

    :raises RuntimeError: the process failed.
    """
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        *_command(stack, case, exchanges, figures),
    ]
    # Without a fixed seed, dictionaries of strings differ from run to run.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"{stack}, {case}: {done.stderr.strip()[-2000:]}")
    return int(found.group(1))


def per_request(stack: str, case: str, low: int, high: int, figures: bool) -> float:
    """Instructions per request as a difference quotient.

    :raises RuntimeError: a process failed.
    """
    # Once without valgrind: writes the byte code caches, or the first run would compile and the second would not.
    plain = subprocess.run(_command(stack, case, 1, figures), capture_output=True, text=True, timeout=LIMIT)
    if plain.returncode:
        raise RuntimeError(f"{stack}, {case}: {plain.stderr.strip()[-2000:]}")
    difference = total(stack, case, high, figures) - total(stack, case, low, figures)
    return difference / ((high - low) * CASES[case].responses)


def main() -> int:
    """Print a table: one line per case, one column per stack."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=DEFAULT_CASES)
    parser.add_argument("--stacks", nargs="+", choices=_stack.available(), default=_stack.available())
    parser.add_argument("--low", type=int, default=200, help="exchanges in the short run (default 200)")
    parser.add_argument("--high", type=int, default=1200, help="exchanges in the long run (default 1200)")
    parser.add_argument("--figures", action="store_true", help="count responses, as with --metrics-bind")
    parser.add_argument("--exercise", nargs=3, metavar=("STACK", "CASE", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.exercise:
        stack, case, exchanges = options.exercise
        exercise(stack, case, int(exchanges), options.figures)
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind was not found on PATH: install it (Debian, Ubuntu: apt install valgrind)", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cells = {
            (stack, case): pool.submit(per_request, stack, case, options.low, options.high, options.figures)
            for case in options.cases
            for stack in options.stacks
        }
        print(f"{'instructions per request':26}" + "".join(f"{name:>12}" for name in options.stacks))
        for case in options.cases:
            counts = "".join(f"{cells[stack, case].result():>12,.0f}" for stack in options.stacks)
            print(f"{case:26}{counts}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
