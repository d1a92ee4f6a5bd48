"""Exposition: the figures in the text formats of Prometheus and OpenMetrics, written by prometheus-client.

The registry is one of its own, so that the application's metrics, in the same process or not, are not touched.
Importing this module fails with ImportError where prometheus-client is not installed.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from .snapshot import BUCKETS, CLASSES, Source, Totals, Worker, total
from .status import About, Lags, count_phases, restarts

_BOUNDS = [*map(floatToGoString, BUCKETS), "+Inf"]


class Exposition:
    """Makes the text of ``/metrics`` from what `source` says at the moment."""

    def __init__(self, source: Source, about: About, lags: Lags) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(source, about, lags))

    def text(self, accept: str) -> tuple[bytes, str]:
        """The text and its media type, in the format that fits the Accept header best."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Collector:
    """What the registry asks."""

    def __init__(self, source: Source, about: About, lags: Lags) -> None:
        self._source = source
        self._about = about
        self._lags = lags

    def describe(self) -> list[Any]:
        """Nothing is known before it is asked for."""
        return []

    def collect(self) -> Iterator[Any]:
        """All metrics."""
        about = self._about
        versions = {"version": about.version, "stack": about.stack, "parser": about.parser, "python": about.python}
        yield InfoMetricFamily("asgiserve_build", "What serves.", versions)
        yield GaugeMetricFamily(
            "asgiserve_start_time_seconds", "When the server was started, in seconds since the epoch.", about.started
        )
        ready = float(self._source.is_ready())
        yield GaugeMetricFamily("asgiserve_ready", "Whether the server takes requests: what /readyz says.", ready)
        yield from _requests(total(self._source))
        yield from self._load()
        yield from self._processes()

    def _load(self) -> Iterator[Any]:
        snapshots = [worker.snapshot for worker in self._source.workers() if worker.snapshot is not None]
        for name, attribute, text in (
            ("requests_in_flight", "active", "Requests being answered, open WebSockets among them."),
            ("connections", "connections", "Open connections."),
            ("tasks", "tasks", "Tasks of the application that are not done."),
        ):
            value = sum(getattr(snapshot, attribute) for snapshot in snapshots)
            yield GaugeMetricFamily(f"asgiserve_{name}", text, value)

    def _processes(self) -> Iterator[Any]:
        workers = GaugeMetricFamily("asgiserve_workers", "Workers by what they do.", labels=["phase"])
        for phase, count in count_phases(self._source).items():
            workers.add_metric([phase], count)
        yield workers
        replaced = CounterMetricFamily(
            "asgiserve_worker_restarts", "Workers that were replaced, by reason.", labels=["reason"]
        )
        for reason, count in restarts(self._source).items():
            replaced.add_metric([reason], count)
        yield replaced
        yield from self._each_worker()

    def _each_worker(self) -> Iterator[Any]:
        lag = GaugeMetricFamily(
            "asgiserve_worker_loop_lag_seconds",
            "The longest delay of the worker's event loop in the last 30 to 60 seconds.",
            labels=["worker"],
        )
        memory = GaugeMetricFamily("asgiserve_worker_memory_bytes", "Resident memory.", labels=["worker"])
        started = GaugeMetricFamily(
            "asgiserve_worker_start_time_seconds",
            "When the worker began to serve, in seconds since the epoch.",
            labels=["worker"],
        )
        for worker in _latest(self._source.workers()):
            assert worker.snapshot is not None
            slot = [str(worker.slot)]
            lag.add_metric(slot, self._lags.worst(worker))
            memory.add_metric(slot, worker.snapshot.memory)
            started.add_metric(slot, worker.snapshot.started)
        yield from (lag, memory, started)


def _requests(totals: Totals) -> Iterator[Any]:
    yield CounterMetricFamily("asgiserve_requests", "Requests started, WebSockets among them.", totals.requests)
    responses = CounterMetricFamily("asgiserve_responses", "Responses by class of their status.", labels=["status"])
    for name, count in zip(CLASSES, totals.responses):
        responses.add_metric([name], count)
    yield responses
    yield HistogramMetricFamily(
        "asgiserve_request_duration_seconds",
        "Time from the head of a request to the end of its response.",
        buckets=list(zip(_BOUNDS, accumulate(totals.latency))),
        sum_value=totals.latency_sum,
    )


def _latest(workers: list[Worker]) -> list[Worker]:
    """One worker for each slot, the one that was started last and serves: while one replaces another there are two."""
    found: dict[int, Worker] = {}
    for worker in sorted(workers, key=_since):
        if worker.snapshot is not None:
            found[worker.slot] = worker
    return [found[slot] for slot in sorted(found)]


def _since(worker: Worker) -> float:
    return worker.since
