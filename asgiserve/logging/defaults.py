"""The names, levels and set-up that hold where nobody says otherwise."""

from __future__ import annotations

import logging
from typing import Any

from .._consts import TRACE

logging.addLevelName(TRACE, "TRACE")

LOG_LEVELS = {"critical": 50, "error": 40, "warning": 30, "info": 20, "debug": 10, "trace": TRACE}

DEFAULT_FORMAT = "%(levelprefix)s %(message)s"
ACCESS_FORMAT = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'

#: The default set-up in the form of ``logging.config.dictConfig``; copy and change it to make your own ``log_config``.
LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "asgiserve.logging.DefaultFormatter", "fmt": DEFAULT_FORMAT, "use_colors": None},
        "access": {"()": "asgiserve.logging.AccessFormatter", "fmt": ACCESS_FORMAT, "use_colors": None},
    },
    "handlers": {
        "default": {"class": "asgiserve.logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
        "access": {"class": "asgiserve.logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "asgiserve": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "asgiserve.error": {"level": "INFO"},
        "asgiserve.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        # Applications that were written for uvicorn log to its logger.
        "uvicorn": {"handlers": ["default"], "level": "INFO", "propagate": False},
    },
}
