"""Top: ``asgiserve top``, a live view of a running server's workers."""

from __future__ import annotations

import os
import time
from typing import Any, Optional

import click

from .. import addresses
from ..addresses import TCP, Address, Inherited
from ..errors import ConfigError
from ..settings import gather
from .reader import Reader, Status, Unreachable

DEFAULT_ADDRESS = "127.0.0.1:8001"
"""Where the metrics are looked for when nothing says where they are."""

WIDTH = 110
"""Columns, where there is no terminal that has a width."""

_EXIT_UNREACHABLE = 1


class Top:
    """Shows what `reader` reads on `console`, every `interval` seconds."""

    def __init__(self, reader: Reader, console: Any, interval: float) -> None:
        self._reader = reader
        self._console = console
        self._interval = interval
        self._before: Optional[Status] = None

    def show_once(self) -> None:
        """One picture: of what goes on from now until the interval is over. Raises :class:`Unreachable`."""
        from .view import frame

        before = self._reader.read()
        time.sleep(self._interval)
        self._console.print(frame(before, self._reader.read()))

    def watch(self) -> None:
        """One picture after the other, until interrupted."""
        from rich.live import Live

        if not self._console.is_terminal:
            while True:
                self._console.print(self._next())
                time.sleep(self._interval)
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(self._next(), refresh=True)
                time.sleep(self._interval)

    def _next(self) -> Any:
        from .view import frame, message

        before = self._before
        try:
            self._before = now = self._reader.read()
        except Unreachable as exc:
            self._before = None
            return message(f"{exc}; trying again")
        return frame(before, now)


def show(address: Optional[str], once: bool, interval: float) -> int:
    """What the command does. Returns the exit status."""
    reader = Reader(_address(_configured() if address is None else address))
    try:
        from rich.console import Console
    except ImportError:
        raise click.UsageError("asgiserve top needs rich: pip install 'asgiserve[top]'") from None
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=WIDTH)
    top = Top(reader, console, interval)
    try:
        if once:
            top.show_once()
        else:
            top.watch()
    except KeyboardInterrupt:
        pass
    except Unreachable as exc:
        click.echo(f"asgiserve: error: {exc}", err=True)
        return _EXIT_UNREACHABLE
    return 0


def _configured() -> str:
    """The address in the settings that a server started here would have."""
    try:
        setting = gather({}, os.environ).get("metrics_bind")
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    return DEFAULT_ADDRESS if setting is None else str(setting.value)


def _address(text: str) -> Address:
    try:
        address = addresses.parse(text)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    if isinstance(address, Inherited):
        raise click.UsageError(f"{text!r} is not an address that can be connected to")
    if isinstance(address, TCP) and address.port == 0:
        raise click.UsageError(f"{text!r} stands for any free port: say which one it became, as the server's log does")
    return address


def build(kind: type[click.Command], prog: str) -> click.Command:
    """The click command, of that kind; `prog` is how it is called."""
    return kind(
        prog,
        callback=show,
        params=[
            click.Argument(["address"], required=False, metavar="[ADDRESS]"),
            click.Option(["--once"], is_flag=True, help="Show one picture, and exit."),
            click.Option(
                ["--interval"],
                type=click.FloatRange(min=0.1),
                default=1.0,
                metavar="SEC",
                help="Seconds between two pictures. [1]",
            ),
        ],
        help="Show what the workers of a running server do.\n\n"
        "ADDRESS is where the server has its metrics (its --metrics-bind), written as there: host:port or unix:path."
        f" Without it, it is the metrics-bind of the environment or the file here, else {DEFAULT_ADDRESS}."
        "\n\nRates and latencies are those since the last picture, latencies estimates. Ctrl+C ends it.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
