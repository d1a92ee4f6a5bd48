"""The order of measuring: rounds, and in each of them every server; what comes out of it."""

from __future__ import annotations

import random
import statistics
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
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


def measure_rounds(
    cells: dict[Key, Cell], rounds: int, windows: int, session: Session, say: Callable[[str], None]
) -> None:
    """All rounds of some rows. A server that fails once is out of its row.

    In a round, all servers are up, but only one at a time works, and each has so many windows: one window of each in a
    new order, then the next one of each. With no windows at all, each is started, has one, and is ended,
    before the next one is started.
    """

    def attempt(number: int, key: Key, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except ServerFailed as error:
            cells[key].failure = str(error)
            say(f"{key[0]} {number}/{rounds} {key[1]}: FAILED: {error}")
            return None

    def sample(number: int, key: Key, take: Callable[[], Any]) -> None:
        found = attempt(number, key, take)
        if found is not None:
            cells[key].samples.append(found)
            say(f"{key[0]} {number}/{rounds} {key[1]}: {found}")

    for number in range(1, rounds + 1):
        with ExitStack() as stack:
            takers = {}
            for key in [key for key, cell in cells.items() if not cell.failure]:
                if not windows:
                    stack.pop_all().close()
                take = attempt(number, key, lambda key=key: stack.enter_context(session(key)))  # type: ignore[misc]
                if take is None:
                    continue
                takers[key] = take
                if not windows:
                    sample(number, key, take)
            for _ in range(windows):
                for key in random.sample(list(takers), len(takers)):
                    if not cells[key].failure:
                        sample(number, key, takers[key])


def stolen(before: Any, after: Any) -> float:
    """The share of CPU time between two readings of ``psutil.cpu_times`` that went to other guests of the host."""
    total = sum(after[:8]) - sum(before[:8])
    share: float = after.steal - before.steal
    return share / total if total else 0.0
