"""What the endurance run takes for growth."""

from __future__ import annotations

import pytest

pytest.importorskip("psutil")

from bench.soak.__main__ import ALLOWED, grown

FIRST = {"requests": 100_000, "objects": 20_000, "blocks": 100_000, "memory": 30 << 20}


def test_a_little_more_is_no_growth():
    last = {name: count + ALLOWED.get(name, 900_000) for name, count in FIRST.items()}
    assert grown([FIRST, last]) == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_more_than_that_is_growth(name):
    last = {**FIRST, name: FIRST[name] + ALLOWED[name] + 1}
    assert grown([FIRST, FIRST, last]) == {name: ALLOWED[name] + 1}
