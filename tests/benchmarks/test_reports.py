"""What the reports make of samples: ratios, promises, and what is said of others."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("psutil")

from bench import chart
from bench.command import minutes, names, wanted
from bench.http.__main__ import COMPARISON
from bench.http.measure import FlatSample, RateSample, SilentSample, StartSample
from bench.http.report import report
from bench.rounds import Cell, Plan
from bench.servers import Server

ABOUT = {
    "date": "2026-01-01 00:00 UTC",
    "cpu": "one",
    "cores": 2,
    "kernel": "Linux",
    "python": "CPython 3.13",
    "load": "load",
    "rounds": 3,
    "windows": 5,
    "seconds": 1.5,
    "minutes": 1.0,
    "stolen": 0.0,
    "versions": {},
    "commands": {server.name: server.name for server in COMPARISON.servers},
    "skipped": {"granian": "no such package"},
}


def flat(*costs):
    """Samples of so many microseconds of CPU per request, on a core that was used fully."""
    return Cell([FlatSample(1_000_000, cost, cost, 0.0, 0.0) for cost in costs])


def rate(p99, in_time=15000):
    return Cell([RateSample(15000, in_time, 0, 15000, 1.5, 0.3, 50.0, p99, 2 * p99, 3 * p99, 10.0, 0.0)])


def page(results):
    return report(ABOUT, results, "http")["http.md"]


def test_capacities_are_relative_to_the_baseline_at_the_same_time():
    text = page({"plaintext": {"asgiserve": flat(9, 5, 6), "uvicorn": flat(27, 15, 12)}})
    assert "| plaintext, keep-alive | 3 met | 3.00 | 1.00 |" in text
    text = page({"plaintext": {"asgiserve": flat(7), "uvicorn": flat(18)}})
    assert "| plaintext, keep-alive | 3 **missed** | 2.57 | 1.00 |" in text


def test_rows_over_http2_have_a_baseline_of_their_own():
    row = {"asgiserve": flat(20), "uvicorn-zttp": flat(30), "granian": flat(25), "uvicorn": Cell()}
    files = report(ABOUT, {"http2": row}, "http")
    assert "| plaintext, HTTP/2 (uvicorn zttp = 1) | granian met | 1.50 | - | 1.00 | 1.20 |" in files["http.md"]
    assert "httptools (HTTP/2: zttp) = 1" in files["http.svg"]
    assert json.loads(files["http.json"])["rows"]["http2"]["servers"]["granian"]["capacity"] == 1.2


@pytest.mark.parametrize(
    ("own", "other", "promise"),
    [
        (flat(20), flat(20), "granian met"),
        (flat(20), flat(19), "granian **missed**"),
        (Cell(failure="died"), flat(19), "granian **missed**"),
        (flat(20), Cell(failure="died"), "granian"),
    ],
)
def test_a_promise_to_be_ahead_of_a_server(own, other, promise):
    text = page({"http2": {"asgiserve": own, "uvicorn-zttp": flat(30), "granian": other}})
    assert f"| plaintext, HTTP/2 (uvicorn zttp = 1) | {promise} |" in text


def test_a_server_that_failed_has_no_figures():
    text = page({"plaintext": {"asgiserve": Cell(failure="died: boom"), "uvicorn": flat(18)}})
    assert "| plaintext, keep-alive | 3 **missed** | **failed** | 1.00 |" in text
    assert "- plaintext, keep-alive, asgiserve: died: boom" in text


def test_promises_beside_capacities():
    results = {
        "plaintext": {"asgiserve": flat(9), "uvicorn": flat(18), "bare": flat(5), "asgiserve-pure": flat(50)},
        "logged": {"asgiserve": flat(11), "uvicorn": flat(40)},
        "latency": {"asgiserve": rate(100.0), "uvicorn": rate(200.0)},
        "idle": {
            "asgiserve": Cell([SilentSample(1000, 4096 * 1000, 1.0, 1.0)]),
            "uvicorn": Cell([SilentSample(1000, 2048 * 1000, 1.0, 1.0)]),
        },
        "start": {"asgiserve": Cell([StartSample(0.1, 1)]), "uvicorn": Cell([StartSample(0.2, 2)])},
    }
    results["plaintext"]["uvicorn-h11"] = flat(60)
    text = page(results)
    assert "at most 1.8 of that of the bare uvloop protocol: 1.80, met" in text
    assert "the access log adds at most 15% to it: 22%, **missed**" in text
    assert "99th percentile at 10,000 requests per second not above uvicorn's: 0.50, met" in text
    assert "memory per idle connection not above uvicorn's: 2.00, **missed**" in text
    assert "start to first response not above uvicorn's: 0.50, met" in text
    assert "in every row: at least 1.20 (plaintext, keep-alive), met" in text


def test_others_that_are_ahead_are_named_and_ceilings_are_not():
    text = page({"plaintext": {"asgiserve": flat(10), "granian": flat(8), "uvicorn": flat(9.8), "bare": flat(4)}})
    assert "- plaintext, keep-alive: granian 0.80\n" in text
    text = page({"plaintext": {"asgiserve": flat(10), "granian": flat(12)}})
    assert "No other server needs less than asgiserve in any row." in text


def test_a_server_that_does_not_keep_up_is_named():
    text = page({"latency": {"asgiserve": rate(100.0), "hypercorn": rate(1e6, in_time=9000)}})
    assert "Did not keep up: hypercorn; " in text


def test_everything_is_in_the_json():
    files = report(ABOUT, {"plaintext": {"asgiserve": flat(9, 5, 6), "uvicorn": flat(18)}}, "other")
    assert sorted(files) == ["other.json", "other.md", "other.svg"]
    found = json.loads(files["other.json"])["rows"]["plaintext"]["servers"]["asgiserve"]
    assert found["capacity"] == 3.0
    assert [sample["cost"] for sample in found["samples"]] == [9.0, 5.0, 6.0]


def test_what_was_not_measured_is_said():
    assert "- not measured: granian: no such package" in page({"plaintext": {"asgiserve": flat(1)}})


def test_the_picture_is_empty_without_a_baseline():
    results = {"plaintext": {"asgiserve": flat(9)}}
    marks = [chart.Mark("asgiserve", "asgiserve", chart.circle, "red")]
    assert chart.svg("t", "h", chart.costs(results, {"plaintext": "x"}, marks, "uvicorn"), marks) is None


def test_optional_servers_are_measured_where_they_are_named():
    servers = [
        Server("a", "a", lambda workload, port: [], ""),
        Server("b", "b", lambda workload, port: [], "", optional=True),
        Server("c", "c", lambda workload, port: [], "", pypy=True),
    ]
    assert wanted(servers, None, None) == ["a"]
    assert wanted(servers, None, "pypy3") == ["a", "c"]
    assert wanted(servers, ["b"], None) == ["b"]


def test_a_row_that_does_not_exist_is_refused():
    with pytest.raises(Exception, match="unknown name 'nothing'"):
        names(["plaintext"])("plaintext,nothing")


def test_servers_take_only_rows_that_they_can_do():
    rows = {row.name: row for row in COMPARISON.workloads}
    servers = {server.name: server for server in COMPARISON.servers}
    assert servers["bare"].handles(rows["tls"])
    assert not servers["bare"].handles(rows["post-1k"])
    assert not servers["epoll"].handles(rows["tls"])
    assert not servers["fastpysgi"].handles(rows["logged"])
    assert servers["uvicorn-zttp"].handles(rows["http2-tls"])
    assert not servers["uvicorn"].handles(rows["http2"])
    assert not servers["bare"].handles(rows["http2"])


def test_the_whole_comparison_fits_in_its_time():
    wanted_servers = wanted(COMPARISON.servers, None, None)
    chosen = {server.name: (server, "python") for server in COMPARISON.servers if server.name in wanted_servers}
    plan = COMPARISON.plan
    assert isinstance(plan, Plan)
    assert minutes(COMPARISON, COMPARISON.workloads, chosen, plan) <= 26
