"""The command line, made from the option table.

Owns help, completion, the one-line errors (exit status 2) and the exit statuses. Where else settings come from is
known to :mod:`asgiserve.settings`; they are checked by :class:`asgiserve.Config`; serving is the server's.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Mapping, NoReturn, Optional

import click
from click.core import ParameterSource

from . import __version__, _stack, loops
from .config import Config
from .errors import ConfigError
from .importer import LoadError
from .option_kinds import MULTIPLE
from .options import BY_NAME, COMMAND_OPTIONS, ENV_PREFIX, OPTIONS, Option, OptionError
from .processes.alone import LoneServer
from .processes.ending import EXIT_INTERRUPTED, flush_output, serve_and_exit
from .server import EXIT_STARTUP_FAILED
from .settings import COMMAND_LINE, Setting, gather

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROG = "asgiserve"
EXIT_USAGE = 2

KNOWN = {option.name: option for option in (*OPTIONS, *COMMAND_OPTIONS)}
_OUTPUT_FULL = (errno.ENOSPC, errno.EIO)
_COLUMN = 32  # where the help texts begin, less the margin


class Value(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers only
    """A click type that takes any text: the check is Config's, as for the other sources. It knows what to complete."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # which click itself loads only to complete

        option = self.option
        if option.kind == "path" or option.metavar == "FILE":
            return [CompletionItem(incomplete, type="dir" if option.metavar == "DIRECTORY" else "file")]
        words = ("true", "false") if option.kind == "boolean" else option.choices
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class Program(click.Command):
    """A command whose errors are one line."""

    def main(self, args: Any = None, prog_name: Any = None, *rest: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            status = super().main(args, self.name, **extra)
        except click.UsageError as exc:
            _exit_usage(exc.format_message())
        except click.exceptions.Abort:
            sys.exit(EXIT_INTERRUPTED)
        except OSError as exc:
            if exc.errno not in _OUTPUT_FULL:
                raise
            flush_output()
            _say(f"standard output cannot be written: {exc.strerror}")
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)


class Command(Program):
    """The command that serves: help in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in (*OPTIONS, *COMMAND_OPTIONS):
            groups.setdefault(option.group, []).append((spelling(option), explanation(option)))
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and param.name not in KNOWN:
                groups.setdefault("Other", []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(_COLUMN), text) for name, text in records], col_max=_COLUMN)


def _say(message: str) -> None:
    print(f"{PROG}: error: {' '.join(message.split())}", file=sys.stderr)


def _exit_usage(message: str) -> NoReturn:
    _say(message)
    sys.exit(EXIT_USAGE)


def _parameter(option: Option) -> click.Parameter:
    if option.kind == "app":
        return click.Argument(["app"], metavar="APP", required=False, type=Value(option))
    # The name comes first, so that click does not derive its own from the flag.
    if option.kind == "switch":
        return click.Option([option.name, option.flag], is_flag=True, default=None)
    if option.kind == "flag":
        return click.Option([option.name, f"{option.flag}/--no-{option.flag[2:]}"], is_flag=True, default=None)
    return click.Option([option.name, option.flag], type=Value(option), multiple=option.kind in MULTIPLE)


def spelling(option: Option) -> str:
    """The option as the help shows it, such as ``--port INTEGER`` or ``--[no-]access-log``."""
    if option.kind in ("app", "switch"):
        return option.flag
    if option.kind == "flag":
        return f"--[no-]{option.flag[2:]}"
    return f"{option.flag} {option.metavar or _metavar(option)}"


def _metavar(option: Option) -> str:
    listed = f"[{'|'.join(option.choices)}]"
    if option.choices and len(option.flag) + 1 + len(listed) <= _COLUMN:
        return listed
    names = {"int": "INT", "seconds": "SEC", "boolean": "BOOLEAN", "texts": "TEXT", "text": "TEXT"}
    return names.get(option.kind, "NAME" if option.choices else "TEXT")


def explanation(option: Option) -> str:
    """The help text, with the choices where :func:`spelling` has no room for them, and the default in brackets."""
    parts = [option.help]
    if option.choices and not option.metavar and _metavar(option)[0] != "[":
        parts.append(f"One of {', '.join(option.choices)}.")
    default = option.default_text
    if not default and option.default is not None and option.default is not False:
        default = "on" if option.default is True else "" if option.default in ("", []) else str(option.default)
    if default:
        parts.append(f"[{default}]")
    return " ".join(parts)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    import platform  # only for this

    try:
        stack = _stack.load("auto")
        serving = f"{stack.name} ({stack.parser})"
    except ConfigError as exc:
        serving = f"none ({exc})"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(f"{PROG} {__version__}, stack {serving}, {python}, {platform.system()} {platform.machine()}")
    ctx.exit()


def _command(**given: Any) -> int:
    """What the program does. Returns the exit status, or does not return."""
    ctx = click.get_current_context()
    named = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    settings: dict[str, Setting] = {}
    try:
        settings = gather(named, os.environ)
        return _act(named, settings)
    except OptionError as exc:
        _exit_usage(f"{exc.reason} ({_place(exc.name, settings)})")
    except ConfigError as exc:
        _exit_usage(str(exc))


def _act(named: Mapping[str, Any], settings: Mapping[str, Setting]) -> int:
    options = {name: setting.value for name, setting in settings.items()}
    app = options.pop("app", None)
    if app is None and not named.get("print_config"):
        _exit_usage(f"no application given: {PROG} MODULE:ATTRIBUTE, or {BY_NAME['app'].env}")
    config = Config("module:attribute" if app is None else app, **options)
    if named.get("print_config"):
        from . import show_config  # which only prints

        config.app = app
        _print("\n".join(show_config.lines(config, settings)))
        return 0
    if named.get("check_config"):
        return _check(config)
    _serve(config)
    return 0


def _place(name: str, settings: Mapping[str, Setting]) -> str:
    """Where the user finds what is wrong with the option `name`."""
    origin = settings[name].origin if name in settings else COMMAND_LINE
    if origin != COMMAND_LINE:
        return origin
    return KNOWN[name].flag if name in KNOWN else name


def _check(config: Config) -> int:
    """Loads all that serving needs, in the order and in the surroundings of serving. Returns the exit status."""

    async def load() -> None:
        config.load()

    config.load_stack()
    config.load_tls()
    if config.needs_parent:
        from .processes.parent import Parent

        Parent(config)
    runner = loops.Runner(config.loop_factory())
    try:
        config.configure_logging()
        runner.run(load())
    except LoadError as exc:
        return _not_loaded(f"{exc}{_frame(exc.cause)}")
    except SystemExit as exc:
        return _not_loaded(f"importing {config.app!r} ends the program (SystemExit: {exc.code})")
    _print(f"{PROG}: the configuration is good, and {config.app} can be loaded")
    return 0


def _not_loaded(reason: str) -> int:
    _say(f"cannot load the application: {reason}")
    return EXIT_STARTUP_FAILED


def _frame(cause: Optional[BaseException]) -> str:
    """Where the user's code raised `cause`, as `` (file:line)``."""
    traceback = cause.__traceback__ if cause is not None else None
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"


def _print(text: str) -> None:
    # What came as bytes that are no text cannot be printed as it is.
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def _serve(config: Config) -> NoReturn:
    config.load_stack()
    config.load_tls()
    if config.needs_parent:
        from .processes.parent import Parent  # it takes time to load, and most do not need it

        status = Parent(config).run()
        flush_output()
        sys.exit(status)
    serve_and_exit(LoneServer(config))


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
        callback=_command,
        params=[*map(_parameter, (*OPTIONS, *COMMAND_OPTIONS)), version],
        help="Serve the application APP, given as module:attribute.\n\n"
        f"Defaults are in brackets. Each option can also be set in the environment, as in {ENV_PREFIX}PORT=8080, and"
        " in a file, see --config. The command line wins over the environment, and that over the file.\n\n"
        f"{PROG} top shows what the workers of a running server do, see {PROG} top --help.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


command = build()


def main() -> None:
    """The entry point of the ``asgiserve`` program."""
    # The server handles signals while it runs. Before that, a request to stop ends the program; after that it is ending
    # already, and another signal must not turn its exit status into "killed".
    signal.signal(signal.SIGTERM, _end)
    try:
        if sys.argv[1:2] == ["top"]:  # no application: those have a colon in them
            from .metrics import top

            top.build(Program, f"{PROG} top").main(sys.argv[2:])
        command.main()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: Optional[FrameType]) -> NoReturn:
    sys.exit(0)
