"""What runs under valgrind: ``python -m bench.instructions.exercise STACK EXCHANGES CASE...``

For every case one segment is announced to valgrind by two calls of :func:`mark`; what is between them are the
exchanges alone. All that happens only at first has happened before.
"""

from __future__ import annotations

import gc
import os
import sys

from asgiserve import _stack

from ..cases import CASES
from ..driver import connect

#: The C function that :func:`mark` gets to, which nothing else calls.
MARK = "getloadavg"
WARM_UP = 50


def mark() -> None:
    """Begin or end a segment."""
    os.getloadavg()


def exercise(stack: str, case_name: str, exchanges: int) -> None:
    """One segment, with so many exchanges."""
    driver = connect(_stack.load(stack), CASES[case_name])
    driver.check()
    driver.run(WARM_UP)
    gc.collect()
    mark()
    driver.run(exchanges)
    mark()
    driver.close()


if __name__ == "__main__":
    for case in sys.argv[3:]:
        exercise(sys.argv[1], case, int(sys.argv[2]))
