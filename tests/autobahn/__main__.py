"""Runs the Autobahn test suite against asgiserve: `python tests/autobahn`, or `make autobahn`.

For each stack it starts a server with an echo application and the suite's fuzzing client, waits for the client's
report, and prints what came of it. The exit status is 0 when every case of every stack is as good as it has to be:

- nothing failed, nothing unimplemented, no case without a result, and every connection closed as expected;
- a non-strict pass only where `NON_STRICT` allows it.

The reports stay in build/autobahn/reports, one file for each case, with all that went over the wire.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

import suite  # noqa: E402
from e2e.launcher import Process, free_port  # noqa: E402

# Cases in which a stack may pass without being strict: none.
NON_STRICT: dict[str, set[str]] = {"compiled": set(), "pure": set()}

# What takes long: 9 measures, 12 and 13 send a thousand messages for each size and way of compressing. One of each
# kind is left.
LONG = ["9.*", "12.*", "13.*"]
SHORT_OF_LONG = ["9.1.6", "9.2.6", "9.4.3", "9.6.3", "12.1.5", "12.2.11", "13.1.4", "13.3.5", "13.5.14", "13.7.9"]

BEHAVIOURS = ("OK", "NON-STRICT", "INFORMATIONAL", "FAILED", "UNIMPLEMENTED", "MISSING")
CLOSES = ("OK", "INFORMATIONAL", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT", "FAILED", "MISSING")


class Result(NamedTuple):
    """How one case went. `text` is the suite's own word on it."""

    case: str
    behaviour: str
    close: str
    milliseconds: int
    text: str

    def is_good(self, stack: str) -> bool:
        if self.behaviour == "NON-STRICT" and self.case not in NON_STRICT.get(stack, ()):
            return False
        return self.behaviour in ("OK", "NON-STRICT", "INFORMATIONAL") and self.close in ("OK", "INFORMATIONAL")


class Run:
    """One server and the client that tests it. `stack` is "compiled", "pure", or "uvicorn-" and a WebSocket engine."""

    def __init__(self, stack: str, cases: list[str], excluded: list[str], folder: Path, python: Path, source: Path):
        self.stack = stack
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        port = free_port()
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        options = ["--app-dir", HERE, "--host", "127.0.0.1", "--port", port, "--log-level", "warning"]
        self._server = Process([*self._command(stack), "echo:app", *options], ("127.0.0.1", port), folder, env)
        self._server.wait_ready()
        spec = {
            "outdir": str(folder),
            "servers": [{"agent": stack, "url": f"ws://127.0.0.1:{port}"}],
            "cases": cases,
            "exclude-cases": excluded,
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        self._log = folder / "client.log"
        with self._log.open("wb") as log:
            self._client = subprocess.Popen(
                # Libraries of another time: they warn of much.
                [python, "-W", "ignore", HERE / "fuzz.py", folder / "spec.json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(source)])},
            )

    @staticmethod
    def _command(stack: str) -> list:
        if stack.startswith("uvicorn-"):
            return [sys.executable, "-m", "uvicorn", "--ws", stack.partition("-")[2]]
        return [sys.executable, "-m", "asgiserve", "--http", {"compiled": "llhttp", "pure": "h11"}[stack]]

    def wait(self, timeout: float) -> str:
        """Wait for the client, then end the server. Returns what is wrong with either, "" for nothing."""
        faults = []
        try:
            if self._client.wait(timeout) != 0:
                faults.append(f"the client failed: {self._log.read_text('utf-8', 'replace')[-2000:]}")
        except subprocess.TimeoutExpired:
            faults.append(f"the client did not end within {timeout:.0f} s: see {self._log}")
        if self._server.popen.poll() is None:
            self._server.popen.terminate()
            try:
                code = self._server.popen.wait(20)
            except subprocess.TimeoutExpired:
                code = "no exit"
        else:
            code = f"early exit, {self._server.popen.returncode}"
        if not self.stack.startswith("uvicorn-"):
            if code != 0:
                faults.append(f"the server ended with {code}")
            if "Traceback" in self._server.stderr():
                faults.append("the server logged an exception")
        return "\n".join(faults + [self._server.describe()] if faults else [])

    def kill(self) -> None:
        for popen in (self._client, self._server.popen):
            if popen.poll() is None:
                popen.kill()
                popen.wait()

    def results(self) -> list[Result]:
        """A Result for each case that was to run, in the suite's order."""
        wanted = _load(self._folder / "cases.json") or []
        index = (_load(self._folder / "index.json") or {}).get(self.stack, {})
        results = []
        for case in wanted:
            entry = index.get(case)
            if entry is None:
                results.append(Result(case, "MISSING", "MISSING", 0, "no result"))
                continue
            detail = _load(self._folder / entry["reportfile"]) or {}
            text = f"{detail.get('result')} Close: {detail.get('resultClose')} Code {entry['remoteCloseCode']}."
            results.append(Result(case, entry["behavior"], entry["behaviorClose"], entry["duration"], text))
        return results


def _load(path: Path):
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def print_table(results: dict[str, list[Result]]) -> None:
    """Counts of each outcome, and the seconds of each category of cases, with a column for each stack."""

    def line(label: str, cells) -> None:
        print(f"{label:28}" + "".join(f"{cell:>20}" for cell in cells))

    line("", results)
    for title, names, of in (("case", BEHAVIOURS, "behaviour"), ("close", CLOSES, "close")):
        counts = [Counter(getattr(result, of) for result in column) for column in results.values()]
        for name in (*names, *sorted({*sum(counts, Counter())} - {*names})):
            if name in ("OK", "FAILED") or any(count[name] for count in counts):
                line(f"{title}: {name}", [count[name] for count in counts])
    categories = sorted({int(result.case.split(".")[0]) for column in results.values() for result in column})
    for category in categories:
        sums = [sum(r.milliseconds for r in column if r.case.startswith(f"{category}.")) for column in results.values()]
        line(f"seconds in {category}.*", [f"{total / 1000:.1f}" for total in sums])


def print_exceptions(results: dict[str, list[Result]]) -> int:
    """List what is not simply OK, and return how many of them must not be."""
    bad = 0
    for stack, column in results.items():
        for result in column:
            if (result.behaviour, result.close) == ("OK", "OK"):
                continue
            good = result.is_good(stack)
            bad += not good
            mark = "      " if good else "WRONG "
            print(f"{mark}{stack} {result.case}: {result.behaviour}, close {result.close}. {result.text}")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/autobahn", description="Run the Autobahn test suite.")
    parser.add_argument("--stack", action="append", help="compiled, pure, uvicorn-wsproto, ...; default: all there are")
    parser.add_argument("--short", action="store_true", help="leave out nearly all of 9, 12 and 13")
    parser.add_argument("--cases", action="append", help="run these cases only, say '6.*' or 7.1.1")
    options = parser.parse_args()
    stacks = options.stack
    if not stacks:
        sys.path.insert(0, str(ROOT))
        from asgiserve import _stack

        stacks = [name for name in ("compiled", "pure") if name in _stack.available()]
        if "compiled" not in stacks and os.environ.get("ASGISERVE_EXTENSIONS") == "require":
            print("no Autobahn test suite: the compiled stack is not built", file=sys.stderr)
            return 1

    build = ROOT / "build" / "autobahn"
    try:
        python, source = suite.obtain(build)
    except suite.SuiteError as exc:
        print(f"no Autobahn test suite: {exc}", file=sys.stderr)
        return 1
    selections = [(options.cases or ["*"], [])]
    if options.short and not options.cases:
        # Two clients, one after the other: the suite's exclusions win over what it is told to run.
        selections = [(["*"], LONG), (SHORT_OF_LONG, [])]

    start = time.monotonic()
    results: dict[str, list[Result]] = {stack: [] for stack in stacks}
    faults = []
    for number, (cases, excluded) in enumerate(selections):
        runs: list[Run] = []
        try:
            for stack in stacks:
                runs.append(Run(stack, cases, excluded, build / "reports" / f"{stack}-{number}", python, source))
            for run in runs:
                fault = run.wait(timeout=600 if options.short else 3600)
                if fault:
                    faults.append(f"{run.stack}: {fault}")
                results[run.stack] += run.results()
        finally:
            for run in runs:
                run.kill()

    print_table(results)
    bad = print_exceptions(results)
    for fault in faults:
        print(fault)
    empty = [stack for stack, column in results.items() if not column]
    good = not (bad or faults or empty)
    total = sum(map(len, results.values()))
    print(f"{'passed' if good else 'FAILED'}: {total} cases in {time.monotonic() - start:.0f} s, {bad} wrong")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
