"""Log set-up, formatters and the access log.

Four loggers: ``asgiserve`` above, ``asgiserve.error`` for what the server has to say (standard error),
``asgiserve.access`` for the requests (standard output) and ``asgiserve.asgi`` for the application's messages at level
trace. The formatters and :class:`StreamHandler` can be named in any logging configuration.
"""

from __future__ import annotations

from .._consts import TRACE
from .access import AccessLog
from .atoms import LineFormat
from .defaults import ACCESS_FORMAT, DEFAULT_FORMAT, LOG_LEVELS, LOGGING_CONFIG
from .formatters import AccessFormatter, ColourizedFormatter, DefaultFormatter, JSONFormatter
from .setup import configure, load
from .streams import StreamHandler
from .trace import TracedApplication, is_tracing

__all__ = [
    "ACCESS_FORMAT",
    "DEFAULT_FORMAT",
    "LOGGING_CONFIG",
    "LOG_LEVELS",
    "TRACE",
    "AccessFormatter",
    "AccessLog",
    "ColourizedFormatter",
    "DefaultFormatter",
    "JSONFormatter",
    "LineFormat",
    "StreamHandler",
    "TracedApplication",
    "configure",
    "is_tracing",
    "load",
]
