"""Metrics: what a worker says of itself, the sums over workers, and what is made of them for readers."""

from __future__ import annotations

import os
import pickle
from types import SimpleNamespace

import pytest

from asgiserve.metrics import snapshot as snapshots
from asgiserve.metrics.snapshot import BUCKETS, Snapshot, Totals, Worker, take, total


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


# -- snapshots


def state(**values):
    """The counters of a ServerState."""
    nothing = {"total_requests": 0, "active": 0, "connections": set(), "tasks": set(), "figures": None}
    return SimpleNamespace(**{**nothing, **values})


def test_a_snapshot_of_a_server():
    taken = take(state(total_requests=7, active=2, connections={1, 2, 3}, tasks={1}), 12.5, 0.25)
    assert taken[:6] == (12.5, 7, 2, 3, 1, 0.25)
    assert taken.memory > 1000000
    assert taken[7:] == ((0,) * 5, (0,) * len(taken.latency), 0.0)


def test_a_snapshot_with_figures(stack):
    figures = stack.Figures()
    figures.count_request(200, 0.002)
    figures.count_response(431)
    taken = take(state(figures=figures), 0.0, 0.0)
    figures.count_request(200, 0.002)
    assert taken.responses == (0, 1, 0, 1, 0)
    assert taken.latency == latency(b1=1)
    assert taken.latency_sum == 0.002


def test_a_snapshot_is_small_and_can_be_sent(stack):
    taken = take(state(figures=stack.Figures()), 0.0, 0.0)
    data = pickle.dumps(taken)
    assert pickle.loads(data) == taken
    assert len(data) < 1000


def test_memory_is_looked_at_once_a_second(monkeypatch):
    looks = []
    now = [100.0]
    monkeypatch.setattr(snapshots, "resident_bytes", lambda: looks.append(1) or 4096 * len(looks))
    monkeypatch.setattr(snapshots.time, "monotonic", lambda: now[0])
    memory = snapshots._Memory()
    assert [memory.read(), memory.read()] == [4096, 4096]
    now[0] = 101.0
    assert memory.read() == 8192


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="there is no /proc")
def test_resident_memory_grows_with_what_is_used():
    before = snapshots.resident_bytes()
    kept = bytearray(b"x" * 50_000_000)
    assert snapshots.resident_bytes() - before > 40_000_000
    assert kept


def test_without_proc_the_memory_is_the_peak(monkeypatch):
    pytest.importorskip("resource")

    def nothing(*args):
        raise FileNotFoundError

    now = snapshots.resident_bytes()
    monkeypatch.setattr("builtins.open", nothing)
    assert now * 0.5 < snapshots.resident_bytes() < now * 20


def test_without_any_source_the_memory_is_zero(monkeypatch):
    monkeypatch.setattr(snapshots, "_peak_bytes", lambda: 0)
    monkeypatch.setattr(snapshots.os, "sysconf", lambda name: int("no number"), raising=False)
    assert snapshots.resident_bytes() == 0


def test_sums_keep_what_ended_workers_did():
    one = snapshot(requests=5, responses=(0, 4, 0, 1, 0), latency=latency(b0=4), latency_sum=0.5)
    two = snapshot(requests=3, responses=(1, 2, 0, 0, 0), latency=latency(b0=1, b3=1), latency_sum=0.25)
    source = FakeSource(
        Worker(0, 1, "ready", 0.0, one), Worker(1, 2, "ready", 0.0, two), Worker(2, 3, "booting", 0, None)
    )
    before = total(source)
    source.past.add(one)
    source.list[0] = Worker(0, 4, "booting", 0.0, None)
    after = total(source)
    for sums in (before, after):
        assert sums.requests == 8
        assert sums.responses == (1, 6, 0, 1, 0)
        assert sums.latency == latency(b0=5, b3=1)
        assert sums.latency_sum == 0.75
    assert source.past.requests == 5
