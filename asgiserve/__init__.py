"""asgiserve, an ASGI server.

:func:`run` serves an application until it is stopped; :class:`Config` and :class:`Server` do the same in parts, also
inside a running event loop.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

from .config import Config
from .errors import AppError, ClientDisconnected, ConfigError
from .server import Server, StartupError

__all__ = ["AppError", "ClientDisconnected", "Config", "ConfigError", "Server", "StartupError", "__version__", "run"]


def run(app: Any, **options: Any) -> None:
    """Serves `app`, an ASGI application or ``"module:attribute"``, until SIGINT or SIGTERM; takes the options of
    :class:`Config`.

    Raises :class:`ConfigError` for a wrong option and SystemExit (status 3) when the application does not start.
    """
    Server(Config(app, **options)).run()
