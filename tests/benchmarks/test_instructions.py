"""The comparison of instruction counts: what fails it, and what counts are compared."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from bench import ROOT
from bench.cases import CASES
from bench.instructions import ancestor, baseline
from bench.instructions.baseline import Baseline
from bench.instructions.callgrind import CountFailed, total
from bench.instructions.environment import differences


def failed(before, now):
    return [line.case for line in baseline.compare(before, now) if line.is_failure]


def test_growth_above_five_percent_fails():
    assert failed({"a": 1000.0, "b": 1000.0, "c": 1000.0}, {"a": 1051.0, "b": 1049.0, "c": 500.0}) == ["a"]


def test_a_case_in_one_of_the_two_only_fails():
    assert failed({"gone": 1.0, "both": 1.0}, {"new": 1.0, "both": 1.0}) == ["new", "gone"]


def test_growth_that_the_file_declares_is_expected():
    counts = baseline.expected(
        {"a": 2000.0, "b": 2000.0, "new": 50.0}, {"a": 1000.0, "b": 1000.0}, {"a": 1200.0, "b": 1000.0}
    )
    assert counts == {"a": 2400.0, "b": 2000.0, "new": 50.0}


def test_what_is_written_is_read():
    filed = Baseline({"python": "CPython 3.13.0"}, {"plaintext": 30000.4})
    assert baseline.parse(baseline.render(filed)) == Baseline({"python": "CPython 3.13.0"}, {"plaintext": 30000.0})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"environment": {}}', '{"environment": {}, "instructions": {"a": "x"}}']
)
def test_another_file_is_refused(text):
    with pytest.raises(ValueError):
        baseline.parse(text)


def test_the_file_has_every_case():
    assert list(baseline.load(ROOT).counts) == list(CASES)


def test_what_differs_is_named():
    assert differences({"python": "3.13", "libc": "1"}, {"python": "3.14", "libc": "1", "cython": "3"}) == [
        "python: 3.13 there, 3.14 here",
        "cython: none there, 3 here",
    ]


def test_total_of_a_segment(tmp_path):
    file = tmp_path / "callgrind.2"
    file.write_text("# callgrind format\nevents: Ir\nfn=(1) main\n3 4\ntotals: 1234\n")
    assert total(file) == 1234
    file.write_text("cut")
    with pytest.raises(CountFailed):
        total(file)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_the_commit_to_compare_with(tmp_path):
    def git(*arguments):
        settings = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit():
        git("commit", "-q", "--allow-empty", "-m", "m")
        return git("rev-parse", "HEAD")

    git("init", "-q")
    first = commit()
    with pytest.raises(CountFailed):
        ancestor.find(tmp_path)
    second = commit()
    assert ancestor.find(tmp_path) == first
    git("update-ref", "refs/remotes/origin/main", second)
    assert ancestor.find(tmp_path) == first
    commit()
    commit()
    assert ancestor.find(tmp_path) == second


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "bench.instructions", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "over 5%:" in done.stdout
