"""The order of measuring, and what becomes of the samples. Nothing is measured here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("psutil")

from bench.command import groups, measure_group
from bench.http.__main__ import COMPARISON
from bench.process import ServerFailed
from bench.rounds import Cell, Plan, measure_rounds, ratio


class Sample:
    def __init__(self, cost):
        self.cost = cost


class Bench:
    """Notes what happens; servers in `failing` fail so many windows after the first start."""

    def __init__(self, **failing):
        self.failing = failing
        self.events = []
        self.said = []

    @contextmanager
    def session(self, key):
        name = key[1]
        if self.failing.get(name) == 0:
            raise ServerFailed("it does not start")
        self.events.append(f"+{name}")
        yield lambda: self.take(name)
        self.events.append(f"-{name}")

    def take(self, name):
        if name in self.failing:
            self.failing[name] -= 1
            if not self.failing[name]:
                raise ServerFailed("it died")
        self.events.append(name)
        return Sample(1.0)

    def measure(self, names, rounds, windows):
        """With no windows, one at a time has one."""
        cells = {("row", name): Cell() for name in names}
        measure_rounds(cells, rounds, windows or 1, bool(windows), self.session, self.said.append)
        return {name: cell for (_, name), cell in cells.items()}


def test_all_stay_up_and_take_turns():
    bench = Bench()
    cells = bench.measure("abc", 2, 4)
    assert {name: len(cell.samples) for name, cell in cells.items()} == {"a": 8, "b": 8, "c": 8}
    for round_ in (bench.events[:18], bench.events[18:]):
        assert round_[:3] == ["+a", "+b", "+c"]
        assert [sorted(round_[at : at + 3]) for at in range(3, 15, 3)] == [["a", "b", "c"]] * 4
        assert round_[15:] == ["-c", "-b", "-a"]


def test_one_at_a_time():
    bench = Bench()
    bench.measure("ab", 2, 0)
    assert bench.events == ["+a", "a", "-a", "+b", "b", "-b"] * 2


@pytest.mark.parametrize("windows", [0, 3])
def test_who_fails_is_out(windows):
    bench = Bench(a=0, b=2)
    cells = bench.measure("abc", 3, windows)
    assert cells["a"].failure == "it does not start"
    assert cells["b"].failure == "it died"
    assert len(cells["c"].samples) == 3 * (windows or 1)
    assert [line for line in bench.said if "FAILED" in line] == [
        "row 1/3 a: FAILED: it does not start",
        f"row {1 if windows else 2}/3 b: FAILED: it died",
    ]
    assert sum(event == "+b" for event in bench.events) == (1 if windows else 2)


def cells(**costs):
    return {name: Cell([Sample(cost) for cost in found]) for name, found in costs.items()}


def test_a_ratio_is_that_of_the_same_time():
    """Half of the time everything costs twice as much: the quotient of the medians would be 4."""
    row = cells(own=[1, 1, 2], base=[2, 4, 4])
    assert ratio(row, "own", "base") == 2.0
    assert ratio(row, "base", "own") == 0.5
    assert ratio(cells(own=[1, 2, 2, 2], base=[4]), "own", "base") == 2.0, "not of the same time"
    assert ratio(row, "own", "none") is None


def test_the_spread_is_that_of_the_middle_half():
    assert cells(a=[1, 2, 3, 4, 100])["a"].spread() == pytest.approx(2 / 3)
    assert cells(a=[1])["a"].spread() == 0.0
    assert Cell().spread() is None


def test_the_row_with_the_log_has_its_rounds_with_the_one_without():
    found = [[row.name for row in group] for group in groups(COMPARISON, COMPARISON.workloads)]
    assert ["plaintext", "logged"] in found
    assert sum(map(len, found)) == len(COMPARISON.workloads)
    alone = [row for row in COMPARISON.workloads if row.name in ("logged", "start")]
    assert [len(group) for group in groups(COMPARISON, alone)] == [1, 1]


def test_rows_that_have_their_rounds_together_have_results_of_their_own():
    bench = Bench()
    rows = groups(COMPARISON, COMPARISON.workloads)[0]
    servers = {server.name: (server, "python") for server in COMPARISON.servers if server.name in ("bare", "uvicorn")}
    made = replace(COMPARISON, session=lambda server, python, row, plan: bench.session((row.name, server.name)))
    results = measure_group(made, rows, servers, Plan(2, 1.0, 1.0, 0, 1, "", 3))
    assert {name: list(row) for name, row in results.items()} == {
        "plaintext": ["uvicorn", "bare"],
        "logged": ["uvicorn"],
    }
    assert all(len(cell.samples) == 6 for row in results.values() for cell in row.values())
