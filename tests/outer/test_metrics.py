"""Metrics: what a worker says of itself, the sums over workers, and the text that Prometheus reads."""

from __future__ import annotations

import mmap
import os
import pickle
from types import SimpleNamespace

import pytest

from asgiserve.metrics import snapshot as snapshots
from asgiserve.metrics.snapshot import Worker, take, total
from asgiserve.metrics.status import About, Lags

from .figures import FakeSource, latency, ready, snapshot

ABOUT = About("1.2", "pure", "h11 0.16", "CPython 3.13", 100.0)


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
    with mmap.mmap(-1, 50_000_000) as fresh:  # an allocator may have that much at hand
        for page in range(0, len(fresh), mmap.PAGESIZE):
            fresh[page] = 1
        assert snapshots.resident_bytes() - before > 40_000_000


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


# -- delays


def test_the_worst_delay_is_kept_for_a_while():
    worker = Worker(0, 10, "ready", 0.0, snapshot(lag=2.0))
    source = FakeSource(worker)
    lags = Lags(source)
    lags.look(1000.0)
    source.list[0] = worker = worker._replace(snapshot=snapshot(lag=0.25))
    for now in (1010.0, 1029.0, 1030.0, 1059.0):
        lags.look(now)
        assert lags.worst(worker) == 2.0, now
    lags.look(1061.0)
    assert lags.worst(worker) == 0.25


def test_another_process_has_delays_of_its_own():
    source = FakeSource(Worker(0, 10, "ready", 0.0, snapshot(lag=2.0)))
    lags = Lags(source)
    lags.look(1.0)
    assert lags.worst(Worker(0, 11, "ready", 0.0, snapshot(lag=0.125))) == 0.125
    assert lags.worst(Worker(0, 12, "booting", 0.0, None)) == 0.0


# -- the text for Prometheus


@pytest.fixture
def metrics():
    """Gives a function for what Prometheus reads of a source: {name: value}, {name{label=value}: value}."""
    pytest.importorskip("prometheus_client", reason="the library is an extra")
    from prometheus_client.parser import text_string_to_metric_families

    from asgiserve.metrics.exposition import Exposition

    def read(source, accept=""):
        lags = Lags(source)
        text, media_type = Exposition(source, ABOUT, lags).text(accept)
        assert media_type.startswith("text/plain; version=")
        found = {}
        for family in text_string_to_metric_families(text.decode()):
            assert family.documentation.endswith(".")
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                key = sample.name + (f"{{{labels}}}" if labels else "")
                assert key not in found, f"{key} is there twice"
                assert key.startswith("asgiserve_")
                found[key] = sample.value
        return found

    return read


def test_what_serves(metrics):
    found = metrics(ready())
    info = "asgiserve_build_info{parser=h11 0.16,python=CPython 3.13,stack=pure,version=1.2}"
    assert found[info] == 1
    assert found["asgiserve_start_time_seconds"] == 100.0
    assert found["asgiserve_ready"] == 1
    assert metrics(FakeSource(ready=False))["asgiserve_ready"] == 0


def test_sums_over_workers(metrics):
    one = snapshot(requests=5, active=1, connections=4, tasks=2, responses=(1, 2, 3, 4, 5))
    two = snapshot(requests=6, active=2, connections=5, tasks=3, responses=(0, 1, 1, 1, 1))
    found = metrics(FakeSource(Worker(0, 1, "ready", 0.0, one), Worker(1, 2, "ready", 0.0, two)))
    assert found["asgiserve_requests_total"] == 11
    assert found["asgiserve_requests_in_flight"] == 3
    assert found["asgiserve_connections"] == 9
    assert found["asgiserve_tasks"] == 5
    counts = [found[f"asgiserve_responses_total{{status={name}}}"] for name in snapshots.CLASSES]
    assert counts == [1, 3, 4, 5, 6]


def test_the_histogram_is_cumulative(metrics):
    found = metrics(ready(latency=latency(b0=1, b4=2, b13=3), latency_sum=99.5))
    name = "asgiserve_request_duration_seconds"
    bounds = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0"]
    counts = [found[f"{name}_bucket{{le={bound}}}"] for bound in [*bounds, "+Inf"]]
    assert counts == [1, 1, 1, 1] + [3] * 9 + [6]
    assert found[f"{name}_count"] == 6
    assert found[f"{name}_sum"] == 99.5


def test_workers_by_phase_and_restarts_by_reason(metrics):
    workers = [Worker(n, n, phase, 0.0, None) for n, phase in enumerate(["ready", "ready", "booting"])]
    found = metrics(FakeSource(*workers, restarts={"crash": 2, "age": 1}))
    assert [found[f"asgiserve_workers{{phase={phase}}}"] for phase in snapshots.PHASES] == [1, 2, 0]
    replaced = {name: found[f"asgiserve_worker_restarts_total{{reason={name}}}"] for name in snapshots.REASONS}
    assert replaced == {**dict.fromkeys(snapshots.REASONS, 0), "crash": 2, "age": 1}


def test_each_worker(metrics):
    one = Worker(0, 1, "ready", 0.0, snapshot(lag=0.25, memory=1024, started=500.0))
    two = Worker(1, 2, "ready", 0.0, snapshot(lag=0.5, memory=2048, started=600.0))
    found = metrics(FakeSource(one, two, Worker(2, 3, "booting", 0.0, None)))
    for slot, (lag, memory, started) in enumerate([(0.25, 1024, 500.0), (0.5, 2048, 600.0)]):
        assert found[f"asgiserve_worker_loop_lag_seconds{{worker={slot}}}"] == lag
        assert found[f"asgiserve_worker_memory_bytes{{worker={slot}}}"] == memory
        assert found[f"asgiserve_worker_start_time_seconds{{worker={slot}}}"] == started
    assert not any("worker=2" in key for key in found)


def test_two_workers_of_one_slot_are_one_line(metrics):
    """While one replaces the other. The line is the new one's as soon as it has figures."""
    old = Worker(0, 1, "stopping", 10.0, snapshot(memory=1000, requests=5))
    new = Worker(0, 2, "ready", 20.0, snapshot(memory=2000, requests=1))
    for workers in ([old, new], [new, old]):
        found = metrics(FakeSource(*workers))
        assert found["asgiserve_worker_memory_bytes{worker=0}"] == 2000
        assert found["asgiserve_requests_total"] == 6
    found = metrics(FakeSource(old, new._replace(snapshot=None)))
    assert found["asgiserve_worker_memory_bytes{worker=0}"] == 1000


def test_counters_never_fall(metrics):
    source = ready(requests=5, responses=(0, 5, 0, 0, 0), latency=latency(b0=5), latency_sum=0.5)

    def counters():
        return {
            key: value
            for key, value in metrics(source).items()
            if key.partition("{")[0].endswith(("_total", "_bucket", "_count", "_sum"))
        }

    before = counters()
    source.past.add(source.list.pop().snapshot)
    source.restarts["crash"] = 1
    after = counters()
    assert len(before) > 20
    assert all(after[key] >= value for key, value in before.items())
    assert after["asgiserve_requests_total"] == 5


def test_other_metrics_of_the_process_stay_out(metrics):
    import prometheus_client

    mine = prometheus_client.Counter("the_application_has", "Something.")
    mine.inc()
    try:
        assert metrics(ready())
        assert "asgiserve" not in prometheus_client.generate_latest().decode()
    finally:
        prometheus_client.REGISTRY.unregister(mine)
