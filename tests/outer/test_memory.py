"""What the server asks of the memory allocator, seen in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or platform.libc_ver()[0] != "glibc", reason="this is about glibc's malloc()"
)

CHURN = """
import resource, sys

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def churn():
    for _ in range(50):
        blocks = [b"x" * 256_000 for _ in range(4)]
        del blocks

if sys.argv[1] == "keep":
    from asgiserve.memory import keep_freed_blocks
    keep_freed_blocks()
churn()
before = faults()
churn()
print(faults() - before)
"""


def page_faults(*arguments):
    return int(subprocess.run([sys.executable, "-c", CHURN, *arguments], capture_output=True, check=True).stdout)


def test_freed_blocks_are_used_again():
    """Blocks of the size of a read come and go without a page fault for each of their pages."""
    assert page_faults("keep") < 100 < page_faults("do not")
