"""The order of measuring, rounds and in each of them every server, and what comes out of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .process import ServerFailed


@dataclass(frozen=True)
class Plan:
    """How to measure: seconds per window and warm-up, the two cores, where the project is."""

    rounds: int
    seconds: float
    warm_up: float
    server_cpu: int
    load_cpu: int
    root: str

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
        """The median of a sample attribute over the rounds; None for a failed or empty cell."""
        if self.failure or not self.samples:
            return None
        return float(statistics.median(getattr(sample, name) for sample in self.samples))

    def spread(self) -> Optional[float]:
        """(max - min) / median of the cost: how far to trust it."""
        middle = self.median("cost")
        if middle is None:
            return None
        costs = [sample.cost for sample in self.samples]
        return float((max(costs) - min(costs)) / middle)


Row = dict[str, Cell]
Results = dict[str, Row]


def ratio(row: Row, name: str, baseline: str) -> Optional[float]:
    """How many times dearer the baseline is than a server in the same row."""
    if name not in row or baseline not in row:
        return None
    cost, base = row[name].median("cost"), row[baseline].median("cost")
    return base / cost if cost and base else None


def measure_rounds(
    row: str, names: list[str], rounds: int, measure: Callable[[str], Any], say: Callable[[str], None]
) -> Row:
    """All rounds of one row. A server that fails once is out of the row.

    :param measure: takes a server's name and returns a sample, whose ``str`` is for the log.
    """
    cells = {name: Cell() for name in names}
    for number in range(1, rounds + 1):
        for name, cell in cells.items():
            if cell.failure:
                continue
            try:
                sample = measure(name)
            except ServerFailed as error:
                cell.failure = str(error)
                say(f"{row} {number}/{rounds} {name}: FAILED: {error}")
                continue
            cell.samples.append(sample)
            say(f"{row} {number}/{rounds} {name}: {sample}")
    return cells


def stolen(before: Any, after: Any) -> float:
    """The share of CPU time between two readings of ``psutil.cpu_times`` that went to other guests of the host."""
    total = sum(after[:8]) - sum(before[:8])
    share: float = after.steal - before.steal
    return share / total if total else 0.0
