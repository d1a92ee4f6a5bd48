"""The order of measuring: rounds, and in each of them every server; what comes out of it."""

from __future__ import annotations

import random
import statistics
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from .process import ServerFailed

#: The name of a row and of a server.
Key = tuple[str, str]
#: Starts the server for the row; what that gives takes a sample each time it is called.
Session = Callable[[Key], AbstractContextManager[Callable[[], Any]]]


@dataclass(frozen=True)
class Plan:
    """How to measure: seconds per window, and of load on a server that has just started; the two cores; where the
    project is; how many windows each server has in a round, where all of them stay up."""

    rounds: int
    seconds: float
    warm_up: float
    server_cpu: int
    load_cpu: int
    root: str
    windows: int = 1

    @property
    def whole(self) -> float:
        """Seconds of a warm-up and a window."""
        return self.warm_up + self.seconds


@dataclass
class Cell:
    """All samples of one server in one row, or why there are none. Every sample has at least a ``cost``."""

    samples: list[Any] = field(default_factory=list)
    failure: Optional[str] = None

    def median(self, name: str) -> Optional[float]:
        """The median of a sample attribute; None for a failed or empty cell."""
        if self.failure or not self.samples:
            return None
        return float(statistics.median(getattr(sample, name) for sample in self.samples))

    def spread(self) -> Optional[float]:
        """The distance between the quartiles of the cost, by its median: how far to trust it."""
        middle = self.median("cost")
        if middle is None:
            return None
        costs = [sample.cost for sample in self.samples]
        if len(costs) < 2:
            return 0.0
        low, _, high = statistics.quantiles(costs, n=4, method="inclusive")
        return float((high - low) / middle)


Row = dict[str, Cell]
Results = dict[str, Row]


def ratio(row: Row, name: str, baseline: str) -> Optional[float]:
    """How many times dearer the baseline is than a server in the same row.

    It is the median over pairs of samples: those of the same time, between which the machine has not changed its mood.
    """
    own, base = row.get(name, Cell()), row.get(baseline, Cell())
    cost, base_cost = own.median("cost"), base.median("cost")
    if not cost or not base_cost:
        return None
    if len(own.samples) != len(base.samples):
        return base_cost / cost
    return float(statistics.median(b.cost / a.cost for a, b in zip(own.samples, base.samples)))


def _enter(stack: ExitStack, session: Session, key: Key) -> Callable[[], Any]:
    return stack.enter_context(session(key))


def measure_rounds(
    cells: dict[Key, Cell], rounds: int, windows: int, stay_up: bool, session: Session, say: Callable[[str], None]
) -> None:
    """All rounds of some rows, in which each server has so many windows. A server that fails once is out of its row.

    :param stay_up: whether all are up through a round, but only one at a time works: one window of each in a new order,
        then the next one of each. If not, each is ended before the next one is started.
    """

    def attempt(number: int, key: Key, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except ServerFailed as error:
            cells[key].failure = str(error)
            say(f"{key[0]} {number}/{rounds} {key[1]}: FAILED: {error}")
            return None

    def run_together(number: int, keys: list[Key]) -> None:
        with ExitStack() as stack:
            takers = {}
            for key in keys:
                takers[key] = attempt(number, key, partial(_enter, stack, session, key))
            for _ in range(windows):
                for key in random.sample(keys, len(keys)):
                    found = None if cells[key].failure else attempt(number, key, takers[key])
                    if found is not None:
                        cells[key].samples.append(found)
                        say(f"{key[0]} {number}/{rounds} {key[1]}: {found}")

    for number in range(1, rounds + 1):
        left = [key for key, cell in cells.items() if not cell.failure]
        for keys in [left] if stay_up else [[key] for key in left]:
            run_together(number, keys)


def stolen(before: Any, after: Any) -> float:
    """The share of CPU time between two readings of ``psutil.cpu_times`` that went to other guests of the host."""
    total = sum(after[:8]) - sum(before[:8])
    share: float = after.steal - before.steal
    return share / total if total else 0.0
