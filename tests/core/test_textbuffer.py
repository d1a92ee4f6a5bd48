"""TextBuffer: text put together piece by piece, by both stacks."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

EXAMPLES = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
#: With lone surrogates, which no encoding of a stream has a form for.
TEXTS = st.one_of(
    st.text(st.characters()), st.text(st.characters(max_codepoint=255)), st.text('az09: "\\~\x7f\t\n\x00')
)
NUMBERS = st.integers(0, 2**63 - 1)


@pytest.fixture
def make(part):
    """TextBuffer of a stack."""
    return part("textbuffer").TextBuffer


@pytest.fixture
def makers(stacks):
    """TextBuffer of each stack."""
    packages = [stack.HTTPConnection.__module__.rpartition(".")[0] for stack in stacks]
    return [import_module(f"{package}.textbuffer").TextBuffer for package in packages]


def test_pieces(make):
    buffer = make()
    assert buffer.take() == ""
    for piece in ("GET", " ", "", "/\u00e9", "\U0001f600", "\ud800"):
        buffer.add(piece)
    assert buffer.take() == "GET /\u00e9\U0001f600\ud800"
    buffer.add("next")
    assert buffer.take() == "next"
    assert buffer.take() == ""


def test_much_text(make):
    buffer = make()
    for size in (0, 1, 4095, 4096, 4097, 100_000, 3_000_000):
        for _ in range(3):
            buffer.add("x" * size)
        buffer.add("\u00e9")
        assert buffer.take() == "x" * 3 * size + "\u00e9"


@pytest.mark.parametrize("number", [0, 7, 9, 10, 90, 99, 100, 101, 999, 1000, 12345, 10**17, 10**18, 2**63 - 1])
@pytest.mark.parametrize("width", [1, 2, 3, 18])
def test_numbers(make, number, width):
    buffer = make()
    buffer.add_number(number, width)
    assert buffer.take() == f"{number:0{width}d}"


HOSTS = ["127.0.0.1:80", "::1:80", "unix", "", ":80", "a:", ":", "::", "h\u00e9:80", "\u00e9", ":\u00e9", "\u00e9:"]


@pytest.mark.parametrize("text", HOSTS)
def test_what_is_before_a_mark(make, text):
    buffer = make()
    buffer.add_before(text, ":")
    assert buffer.take() == (text.rpartition(":")[0] or text)


DECIMALS = [0.0, -0.0, 5e-7, 1.5e-6, 4.999999e-7, 0.5, 0.9999995, 0.99999949, 1.0000005, 2.5e-6, 1 / 3, 999999.9999995]
DECIMALS += [1e6, 1e15, 1e22, 1e300, -1.5, float("inf"), float("nan"), 5e-324, 123456.789]


def test_decimals(make):
    for number in DECIMALS:
        buffer = make()
        buffer.add_decimal(number)
        assert buffer.take() == f"{number:.6f}"


def test_what_fits_in_a_line_and_in_json(make):
    buffer = make()
    for code in [*range(0x180), 0x2028, 0xD800, 0xFFFF, 0x1F600]:
        for text in (chr(code), f"a{chr(code)}", f"{chr(code)}a"):
            is_plain = text.isascii() and text.isprintable() and not set(text) & set('"\\')
            assert buffer.add_plain(text) is is_plain
            assert buffer.take() == (text if is_plain else "")
            buffer.add_json(text)
            assert buffer.take() == json.dumps(text)[1:-1]


@EXAMPLES
@given(st.lists(st.one_of(TEXTS, NUMBERS, st.floats(0, 1e7))), st.integers(1, 18))
@example(["", 0, 0.0], 1)
def test_both_stacks_collect_the_same(makers, pieces, width):
    made = []
    for make in makers:
        buffer = make()
        for piece in pieces:
            if isinstance(piece, int):
                buffer.add_number(piece, width)
            elif isinstance(piece, float):
                buffer.add_decimal(piece)
            else:
                buffer.add(piece)
                buffer.add_before(piece, ":")
                buffer.add_json(piece)
                buffer.add(str(buffer.add_plain(piece)))
        made.append(buffer.take())
    assert made[0] == made[1]
