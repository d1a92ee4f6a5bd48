"""The documentation says what the program does: the reference is the option table, the commands are options, what is
linked is there."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

from asgiserve import cli
from asgiserve.metrics import top
from asgiserve.options import OPTIONS

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not here")


def test_the_reference_is_the_option_table():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run `make reference`"
    for option in OPTIONS:
        assert f"| `{option.name}`" in generate.page()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_flags_in_commands_exist(page):
    known = {flag for param in cli.command.params for flag in (*param.opts, *param.secondary_opts)}
    known |= {flag for param in top.build(cli.Program, "asgiserve top").params for flag in param.opts} | {"--help"}
    text = page.read_text(encoding="utf-8")
    commands = re.findall(r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:python -m )?asgiserve (.*)$", text, re.M)
    used = {flag for command in commands for flag in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", command.split(" #")[0])}
    assert used <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).is_file(), target


def test_every_promise_has_a_test():
    text = (DOCS / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line != "| promise | test |"]
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"\]\(\.\./tests/", row), row
