"""Figures of workers that there are not, for the tests of what is made of them."""

from __future__ import annotations

from asgiserve.metrics.snapshot import BUCKETS, Snapshot, Totals, Worker


def snapshot(**values):
    """A Snapshot with these figures; the rest is 0."""
    nothing = Snapshot(0.0, 0, 0, 0, 0, 0.0, 0, (0,) * 5, (0,) * (len(BUCKETS) + 1), 0.0)
    return nothing._replace(**values)


def latency(**at):
    """Counts of the histogram: latency(b0=3) has 3 in the first bucket."""
    return tuple(at.get(f"b{index}", 0) for index in range(len(BUCKETS) + 1))


class FakeSource:
    """What a parent would know of its workers."""

    def __init__(self, *workers, ready=True, restarts=None):
        self.list = list(workers)
        self.ready = ready
        self.restarts = restarts or {}
        self.past = Totals()

    def workers(self):
        return self.list

    def is_ready(self):
        return self.ready


def ready(**figures):
    return FakeSource(Worker(0, 10, "ready", 50.0, snapshot(**figures)))
