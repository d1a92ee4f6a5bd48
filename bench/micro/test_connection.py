"""Whole requests: from data_received() through the application to the transport's write()."""

from __future__ import annotations

import pytest

from asgiserve._stack import Stack
from bench.cases import CASES
from bench.driver import connect

from .conftest import Measure

EXCHANGES = 100


@pytest.mark.parametrize("name", CASES)
def test_connection(name: str, stack: Stack, measure: Measure) -> None:
    """100 times the reads of a case."""
    case = CASES[name]
    driver = connect(stack, case)
    driver.check()
    measure(f"connection: {name}", lambda: driver.run(EXCHANGES), EXCHANGES * case.responses)
    driver.close()
