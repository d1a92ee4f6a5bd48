"""How the cost of a request is divided: reading callgrind, charging to parts, reading perf and strace."""

from __future__ import annotations

import pytest

pytest.importorskip("psutil")

from bench.cost.graph import OTHER, charge, read
from bench.cost.measure import KERNEL, SYSTEM_CALLS, parse_report, parse_summary
from bench.cost.page import BEGIN, CASES, END, MEMORY, OWN, Figures, put, render
from bench.cost.parts import APPLICATION, LOOP, PARSER, PARTS, TASK, part_of

GRAPH = """\
# callgrind format
positions: line
events: Ir

ob=(1) /lib/a.so
fl=(1) a.c
fn=(1) one
3 10
cob=(2) /lib/c.so
cfn=(2) shared
calls=4 0
5 60

fn=(3) two
+2 20
cob=(2)
cfn=(2)
calls=2 0
* 40

ob=(2)
fn=(2)
7 90
cfn=(4) deep
calls=1 0
-1 10

fn=(4)
9 10
totals: 130
"""


def test_a_graph_is_read():
    graph = read(GRAPH.splitlines(keepends=True))
    one, two, shared, deep = ("/lib/a.so", "one"), ("/lib/a.so", "two"), ("/lib/c.so", "shared"), ("/lib/c.so", "deep")
    assert graph.own == {one: 10, two: 20, shared: 90, deep: 10}
    assert graph.spent == {shared: {one: 60, two: 40}, deep: {shared: 10}}


def test_what_belongs_to_nobody_is_charged_to_its_callers():
    graph = read(GRAPH.splitlines(keepends=True))
    charged = charge(graph, lambda function: {"one": "A", "two": "B"}.get(function[1]))
    assert charged == {"A": pytest.approx(10 + 60), "B": pytest.approx(20 + 40), OTHER: pytest.approx(0)}


def test_functions_in_a_circle_are_charged_to_who_is_outside():
    circle = "ob=(1) x\nfn=(1) root\n1 5\ncfn=(2) a\ncalls=1 0\n1 30\n\nfn=(2)\n1 10\ncfn=(3) b\ncalls=1 0\n1 25\n\n"
    circle += "fn=(3)\n1 20\ncfn=(2)\ncalls=1 0\n1 5\n"
    charged = charge(read(circle.splitlines()), lambda function: "R" if function[1] == "root" else None)
    assert charged["R"] == pytest.approx(35)


def test_what_nobody_is_charged_for_is_other():
    assert charge(read(GRAPH.splitlines()), lambda function: None) == {OTHER: pytest.approx(130)}


@pytest.mark.parametrize(
    ("file", "name", "part"),
    [
        ("/x/asgiserve/_speedups/parser.cpython-313-x86_64-linux-gnu.so", "llhttp__internal_execute", PARSER),
        ("/x/asgiserve/_speedups/launch.cpython-313-x86_64-linux-gnu.so", "f", TASK),
        ("/x/lib-dynload/_asyncio.cpython-313-x86_64-linux-gnu.so", "task_step_impl", TASK),
        ("/x/uvloop/loop.cpython-313-x86_64-linux-gnu.so", "uv__read", LOOP),
        ("/x/lib/libpython3.13.so.1.0", "_PyEval_EvalFrameDefault", APPLICATION),
        ("/x/lib/libpython3.13.so.1.0", "_PyEval_EvalFrameDefault'2", APPLICATION),
        ("/x/lib/libpython3.13.so.1.0", "PyDict_New", None),
        ("/x/elsewhere/parser.so", "f", None),
    ],
)
def test_parts_by_file_and_name(file, name, part):
    assert part_of((file, name)) == part


def test_a_report_of_perf():
    report = """\
# Children      Self  Symbol
    60.00%     1.00%  [k] do_syscall_64
    50.00%     2.00%  [k] ksys_write
    40.00%     0.00%  [.] __GI___libc_write
    10.00%     3.00%  [k] ksys_read
     9.00%     9.00%  [.] _PyEval_EvalFrameDefault
"""
    shares = parse_report(report)
    assert shares[KERNEL] == pytest.approx(0.06)
    assert shares["write"] == pytest.approx(0.5)
    assert shares["read"] == pytest.approx(0.1)
    assert shares["epoll_pwait"] == 0.0


def test_a_summary_of_strace():
    line = "---------------- ---------\n"
    text = f"syscall              calls\n{line}read      1004\nwrite      1000\n{line}total      2004\n"
    assert parse_summary(text) == {"read": 1004, "write": 1000}


def test_the_page_gets_its_figures_between_the_marks():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put(page, f"{BEGIN}\nnew\n{END}") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError):
        put("nothing", "new")


def test_shares_are_of_the_whole():
    figures = Figures(
        labels={"bare": "bare", OWN: "asgiserve"},
        cpu={"bare": 4.0, OWN: 8.0},
        calls={"bare": {"read": 1.0}, OWN: {"read": 1.0, "write": 1.0, "close": 0.001}},
        kernel={KERNEL: 0.6, **dict.fromkeys(SYSTEM_CALLS, 0.1)},
        parts={part: 100.0 for part in PARTS if part != OTHER},
        cases=dict.fromkeys(CASES, 2000.0),
        memory={kind: {OWN: 3.0} for kind in MEMORY},
        where="CPython",
    )
    text = render(figures)
    assert "| bare | 0.50 | 4.0 | read 1.00 |" in text
    assert "| asgiserve | 1.00 | 8.0 | read 1.00, write 1.00 |" in text
    assert "| kernel: all else | 30% |  |" in text
    assert f"| {PARSER} | 5% | 100 |" in text
    assert "| one of 100 messages of a stream, 1 KiB each | 20 | 0.01 |" in text
    assert "| an idle WebSocket | 3.0 |" in text
