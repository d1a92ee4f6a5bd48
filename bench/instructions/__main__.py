"""Command line of the instruction counter."""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asgiserve import _stack

from .. import ROOT
from ..cases import CASES
from . import ancestor, baseline
from .baseline import FILE, LIMIT, Baseline, Counts, Line
from .callgrind import CountFailed, count
from .environment import differences, environment

STACK = "compiled"


def _table(head: list[str], rows: list[list[str]]) -> None:
    for row in [head, *rows]:
        print(f"{row[0]:24}" + "".join(f"{cell:>14}" for cell in row[1:]), flush=True)


def _show(cases: list[str], stacks: list[str]) -> None:
    with ThreadPoolExecutor() as pool:
        counted = list(pool.map(lambda stack: count(stack, cases, ROOT), stacks))
    rows = [[case, *(f"{counts[case]:,.0f}" for counts in counted)] for case in cases]
    _table(["instructions per request", *stacks], rows)


def _update(cases: list[str], root: Path) -> None:
    found = Baseline(environment(), count(STACK, cases, root))
    (root / FILE).write_text(baseline.render(found))
    _table(["instructions per request", STACK], [[case, f"{number:,.0f}"] for case, number in found.counts.items()])
    print(f"written: {FILE}")


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _judge(lines: list[Line], name: str) -> int:
    """Print a comparison; 1 if a case has grown too much."""
    rows = [[x.case, _cell(x.before, ",.0f"), _cell(x.now, ",.0f"), _cell(x.growth, "+.1%")] for x in lines]
    _table(["instructions per request", name, "now", "growth"], rows)
    failed = [line.case for line in lines if line.is_failure]
    if failed:
        print(f"FAILED: {', '.join(failed)}: grown by more than {LIMIT:.0%}, or in one of the two only.")
        print("If that is meant: python -m bench.instructions --update, and commit the file with the change.")
        return 1
    if any(line.growth is not None and line.growth < -LIMIT for line in lines):
        print("Some cost much less now: python -m bench.instructions --update keeps it that way.")
    print(f"No case has grown by more than {LIMIT:.0%}.")
    return 0


def _chosen(counts: Counts, cases: list[str]) -> Counts:
    """The counts of the cases; all when all cases are meant, so that one that is gone is seen."""
    return counts if cases == list(CASES) else {case: counts[case] for case in cases if case in counts}


def _check(cases: list[str], root: Path, base: str | None) -> int:
    """Compare with the file, or, where its counts say nothing, with the commit that the work set out from."""
    try:
        filed = baseline.load(root)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    other = differences(filed.environment, environment())
    if not other and base is None:
        return _judge(baseline.compare(_chosen(filed.counts, cases), count(STACK, cases, root)), "file")
    if other:
        print(f"The counts in {FILE} were made elsewhere:", *other, sep="\n  ")
    try:
        commit = base or ancestor.find(root)
        print(f"Compared with commit {commit[:12]}, counted here.", flush=True)
        before: Counts = ancestor.expected_counts(root, commit, STACK, cases, filed)
    except (CountFailed, subprocess.TimeoutExpired) as error:
        print(f"NOT CHECKED: there is nothing to compare with: {error}")
        return 0
    now = count(STACK, cases, root)
    # A case that the older state has not got cannot have grown.
    return _judge(baseline.compare(before, {case: now[case] for case in now if case in before}), commit[:12])


def main() -> int:
    """Print a table: one line per case, one column per stack."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description="Count machine instructions per request. Needs valgrind."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help=f"fail when a count has grown by over {LIMIT:.0%}%: {FILE}")
    what.add_argument("--update", action="store_true", help=f"write {FILE}")
    parser.add_argument("--base", metavar="COMMIT", help="compare with this commit, not with the file")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--stacks", nargs="+", choices=_stack.available(), default=_stack.available())
    options = parser.parse_args()
    if (options.check or options.update) and STACK not in _stack.available():
        print("the compiled stack is not built", file=sys.stderr)
        return 2
    if options.update and options.cases != list(CASES):
        parser.error("--update counts all cases")
    try:
        if options.check:
            return _check(options.cases, ROOT, options.base)
        if options.update:
            _update(options.cases, ROOT)
        else:
            _show(options.cases, options.stacks)
    except CountFailed as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
