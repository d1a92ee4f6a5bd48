"""Counting an older state of the code with the same tools, where the file's counts come from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .baseline import FILE, Baseline, Counts, expected, parse
from .callgrind import CountFailed, count

MAIN = "origin/main"
BUILD_LIMIT = 900.0


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command.

    :raises CountFailed: it failed.
    """
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except OSError as error:
        raise CountFailed(f"git: {error}") from error
    if done.returncode:
        raise CountFailed((done.stderr.strip().splitlines() or ["git failed"])[-1])
    return done.stdout


def find(root: Path) -> str:
    """The commit from which the work in a checkout set out: where it left the main branch, or else its parent.

    :raises CountFailed: there is none, as in an archive or a shallow clone.
    """
    head = _git(root, "rev-parse", "HEAD").strip()
    try:
        base = _git(root, "merge-base", "HEAD", MAIN).strip()
    except CountFailed:
        base = head
    return base if base != head else _git(root, "rev-parse", "HEAD^").strip()


@contextmanager
def _built(root: Path, commit: str) -> Iterator[Path]:
    """A checkout of a commit, compiled, with the benchmarks of today."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git(root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            shutil.rmtree(tree / "bench", ignore_errors=True)
            shutil.copytree(root / "bench", tree / "bench", ignore=shutil.ignore_patterns("results", "__pycache__"))
            if (root / "build" / "llhttp").is_dir():
                shutil.copytree(root / "build" / "llhttp", tree / "build" / "llhttp")
            done = subprocess.run(
                [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
                cwd=tree,
                env={**os.environ, "ASGISERVE_EXTENSIONS": "require"},
                capture_output=True,
                text=True,
                timeout=BUILD_LIMIT,
            )
            if done.returncode:
                raise CountFailed(f"{commit[:12]} cannot be built: {done.stderr.strip()[-500:]}")
            yield tree
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))


def expected_counts(root: Path, commit: str, stack: str, cases: list[str], today: Baseline) -> Counts:
    """What the cases may cost now: what they cost at that commit, and what the file says has grown since.

    :raises CountFailed: the commit cannot be had, built or run.
    """
    try:
        then = parse(_git(root, "show", f"{commit}:{FILE}")).counts
    except (CountFailed, ValueError):
        then = {}
    with _built(root, commit) as tree:
        return expected(count(stack, cases, tree), then, today.counts)
