"""Writes reference.md beside this file from the option table: ``python docs/generate.py``, or ``make reference``."""

from __future__ import annotations

import pathlib
from itertools import groupby

from asgiserve.options import COMMAND_OPTIONS, OPTIONS, Option

PAGE = pathlib.Path(__file__).with_name("reference.md")

INTRODUCTION = """\
# Reference

<!-- Made from asgiserve/options.py by `make reference`. -->

Every option, by its name in Python. The same option has four spellings:

| where | spelling | example |
|---|---|---|
| command line | `--` and the name, with `-` for `_` | `--log-level debug` |
| environment | `ASGISERVE_` and the name in capitals | `ASGISERVE_LOG_LEVEL=debug` |
| file | the name; `-` is as good as `_` | `log_level = "debug"` |
| Python | the name as a keyword | `asgiserve.run("main:app", log_level="debug")` |

On the command line something that is on or off has two flags, such as `--access-log` and `--no-access-log`. In the
environment it is `on` or `off`, `true` or `false`, `yes` or `no`, `1` or `0`. Where `none` is a value it is written
out, in Python it is `None`.

[Configuration](configuration.md) says which source wins, and how to see what came of it.
"""

KINDS = {
    "app": "`module:attribute`",
    "text": "text",
    "path": "path",
    "root_path": "path",
    "int": "whole number",
    "seconds": "seconds",
    "flag": "on or off",
    "switch": "on or off",
    "boolean": "on or off",
    "peers": "list",
    "headers": "`Name: value`",
    "log_config": "path",
    "line_format": "text",
    "address": "address",
    "addresses": "address",
    "texts": "text",
    "mode": "octal number",
    "ssl_version": "whole number",
    "cert_reqs": "`none`, `optional`, `required`",
}

ONLY_IN_PYTHON = (
    (
        "ssl_context_factory",
        "function",
        "Is called with the Config and a function that makes the default context; returns the ssl.SSLContext to serve"
        " with.",
    ),
    (
        "callback_notify",
        "function",
        "Is called, and awaited if it is async, every timeout_notify seconds while connections are accepted.",
    ),
    ("timeout_notify", "seconds", "30, where nothing else is said."),
)


def value_of(option: Option) -> str:
    """What can be given, in a few words."""
    text = KINDS[option.kind] if option.kind in KINDS else ", ".join(f"`{choice}`" for choice in option.choices)
    if not text:
        raise KeyError(f"say in KINDS what a value of the kind {option.kind} is")
    if option.minimum is not None and option.maximum is not None:
        text += f" from {option.minimum:g} to {option.maximum:g}"
    elif option.minimum:
        text += f" from {option.minimum:g}"
    if option.optional and "none" not in option.choices:
        text += ", or `none`"
    return text


def default_of(option: Option) -> str:
    if option.default_text:
        return option.default_text
    if isinstance(option.default, bool):
        return "on" if option.default else "off"
    if option.default is None:
        return "`none`" if option.optional else ""
    return f"`{option.default}`" if option.default not in ("", []) else ""


def name_of(option: Option) -> str:
    if option.kind == "app":
        return f"`{option.name}` (the argument)"
    other = option.flag != "--" + option.name.replace("_", "-")
    return f"`{option.name}`" + (f" (`{option.flag}`)" if other else "")


def row(option: Option) -> str:
    return f"| {name_of(option)} | {value_of(option)} | {default_of(option)} | {option.help} |"


def page() -> str:
    """The text of reference.md."""
    parts = [INTRODUCTION]
    for group, options in groupby((*OPTIONS, *COMMAND_OPTIONS), key=lambda option: option.group):
        parts.append(f"\n## {group}\n\n| name | value | default | |\n|---|---|---|---|\n")
        parts.extend(row(option) + "\n" for option in options)
    parts.append("\nThese three are for the command line alone; `--config` is also read from `ASGISERVE_CONFIG`.\n")
    parts.append("\n## Only in Python\n\n| name | value | |\n|---|---|---|\n")
    parts.extend(f"| `{name}` | {value} | {text} |\n" for name, value, text in ONLY_IN_PYTHON)
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
