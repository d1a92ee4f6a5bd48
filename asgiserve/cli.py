"""The command line, made from the option table.

Owns help, the one-line errors (exit status 2), the environment variables ``ASGISERVE_<NAME>`` and the exit statuses.
Settings are checked by the table and by :class:`asgiserve.Config`; serving is the server's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import sys
from types import FrameType
from typing import Any, NoReturn, Optional, Sequence

import click
from click.core import ParameterSource

from . import __version__, _stack
from .config import Config
from .errors import ConfigError
from .options import BY_NAME, ENV_PREFIX, OPTIONS, Option, OptionError
from .server import Server

PROG = "asgiserve"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class Value(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only
    """A click type that leaves all checking to the option."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.kind

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        try:
            cleaned = self.option.clean(value)
        except OptionError as exc:
            raise UsageError(exc.reason, self.option, ctx) from None
        # click takes None for "not given", so that something else stands for it until settings() reads it.
        return _NONE if cleaned is None else cleaned

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [line for line in rv.split("\n") if line.strip()]


_NONE = object()
_COLUMN = 36  # where the help texts begin


class UsageError(click.UsageError):
    """A bad value. Names the flag, or the environment variable that it came from."""

    def __init__(self, reason: str, option: Option, ctx: Optional[click.Context]) -> None:
        source = ctx.get_parameter_source(option.name) if ctx is not None else None
        where = option.env if source is ParameterSource.ENVIRONMENT else option.flag
        super().__init__(f"{reason} ({where})", ctx)


class Command(click.Command):
    """The command: help in groups, errors in one line."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                option = BY_NAME.get(param.name or "")
                name, text = record
                groups.setdefault(option.group if option else "Other", []).append((name.ljust(_COLUMN), text))
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records, col_max=_COLUMN)

    def main(self, args: Any = None, prog_name: Any = None, *rest: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            status = super().main(args, PROG, **extra)
        except click.UsageError as exc:
            _exit_usage(exc.format_message())
        except click.exceptions.Abort:
            sys.exit(EXIT_INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)


def _exit_usage(message: str) -> NoReturn:
    print(f"{PROG}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def _parameter(option: Option) -> click.Parameter:
    if option.kind == "app":
        return click.Argument(["app"], metavar="APP", required=False, envvar=option.env, type=Value(option))
    # The name comes first, so that click does not derive its own from the flag.
    common: dict[str, Any] = {"help": _help(option), "default": None, "envvar": option.env}
    if option.kind == "switch":
        return click.Option([option.name, option.flag], is_flag=True, **common)
    if option.kind == "flag":
        return click.Option([option.name, f"{option.flag}/--no-{option.flag[2:]}"], is_flag=True, **common)
    return click.Option(
        [option.name, option.flag],
        type=Value(option),
        metavar=option.metavar or _metavar(option),
        multiple=option.kind == "headers",
        **common,
    )


def _metavar(option: Option) -> str:
    if option.choices:
        return f"[{'|'.join(option.choices)}]"
    return {"int": "INTEGER", "seconds": "SECONDS", "boolean": "BOOLEAN"}.get(option.kind, "TEXT")


def _help(option: Option) -> str:
    default = option.default_text
    if not default and option.default is not None and option.default is not False:
        default = "on" if option.default is True else "" if option.default in ("", []) else str(option.default)
    return f"{option.help}  [{default}]" if default else option.help


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    try:
        stack = _stack.load("auto")
        serving = f"{stack.name} ({stack.parser})"
    except ConfigError as exc:
        serving = f"none ({exc})"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(f"{PROG} {__version__}, stack {serving}, {python}, {platform.system()} {platform.machine()}")
    ctx.exit()


def settings(ctx: click.Context) -> dict[str, Any]:
    """The settings that were given on the command line or in the environment, in the form that Config takes."""
    given: dict[str, Any] = {}
    for option in OPTIONS:
        value = ctx.params.get(option.name)
        if ctx.get_parameter_source(option.name) is ParameterSource.DEFAULT or value is None:
            continue
        if option.kind == "headers":
            value = [header for headers in value for header in headers]
        given[option.name] = None if value is _NONE else value
    return given


def _serve(**_: Any) -> None:
    given = settings(click.get_current_context())
    app = given.pop("app", None)
    if app is None:
        _exit_usage(f"no application given: {PROG} MODULE:ATTRIBUTE, or {BY_NAME['app'].env}")
    try:
        server = Server(Config(app, **given))
        server.config.load_stack()
        _run(server)
    except OptionError as exc:
        option = BY_NAME.get(exc.name)
        _exit_usage(f"{exc.reason} ({option.flag if option else exc.name})")
    except ConfigError as exc:
        _exit_usage(str(exc))


def _run(server: Server) -> None:
    status = 0
    try:
        server.run()
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except SystemExit as exc:
        if not isinstance(exc.code, int):
            raise
        status = exc.code
    _flush_output()
    if server.stuck:
        # What is left behind may hold threads that the interpreter would wait for, for ever.
        logging.shutdown()
        os._exit(status)
    sys.exit(status)


def _flush_output() -> None:
    """Without this, output that nobody reads any more would turn the exit status into 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except AttributeError:
            pass  # there is no such stream, as under pythonw


def build() -> click.Command:
    """The click command with every option of the table."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the versions of the server, its stack and Python.",
    )
    return Command(
        PROG,
        callback=_serve,
        params=[*map(_parameter, OPTIONS), version],
        help="Serve the ASGI application APP, given as module:attribute.\n\n"
        f"Each option can also be set in the environment, as in {ENV_PREFIX}PORT=8080; the command line wins.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


command = build()


def main() -> None:
    """The entry point of the ``asgiserve`` program."""
    # The server handles signals while it runs. Before that, a request to stop ends the program; after that it is ending
    # already, and another signal must not turn its exit status into "killed".
    signal.signal(signal.SIGTERM, _end)
    try:
        command.main()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: Optional[FrameType]) -> NoReturn:
    sys.exit(0)
