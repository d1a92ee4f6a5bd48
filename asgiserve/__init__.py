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

    With ``workers``, ``reload`` or a limit for workers it serves in worker processes, which import the application
    themselves; as with :mod:`multiprocessing`, the calling program then needs ``if __name__ == "__main__":``.

    Raises :class:`ConfigError` for a wrong option and SystemExit (status 3) when the application does not start.
    """
    config = Config(app, **options)
    if not config.needs_parent:
        from .processes.alone import LoneServer

        LoneServer(config).run()
        return
    from .processes.parent import Parent  # it takes time to load, and most do not need it

    status = Parent(config).run()
    if status:
        raise SystemExit(status)
