"""Applies the default set-up, as ``logging.config.dictConfig`` would.

That brings pickle, socketserver, configparser and more along, which are a twentieth of the memory of a server that has
just started. Other set-ups are for ``dictConfig`` itself. Unlike there, handlers that somebody has put on other loggers
stay open.
"""

from __future__ import annotations

import copy
import logging
import sys
from typing import Any

from . import formatters
from .defaults import LOGGING_CONFIG
from .streams import StreamHandler

#: LOGGING_CONFIG as it was before anybody could change it.
UNCHANGED = copy.deepcopy(LOGGING_CONFIG)


def apply(config: dict[str, Any]) -> None:
    """Sets up the loggers by `config`: :data:`UNCHANGED`, or that with other formatters of ours."""
    made = {}
    for name, entry in config["formatters"].items():
        options = dict(entry)
        kind = getattr(formatters, options.pop("()").rpartition(".")[2])
        made[name] = kind(**options)
    handlers = {}
    for name, entry in config["handlers"].items():
        handler = StreamHandler(getattr(sys, entry["stream"].rpartition(".")[2]))
        handler.name = name
        handler.setFormatter(made[entry["formatter"]])
        handlers[name] = handler
    named = config["loggers"]
    for name, found in list(logging.root.manager.loggerDict.items()):
        if not isinstance(found, logging.Logger) or name in named:
            continue
        if name.startswith(tuple(f"{parent}." for parent in named)):
            found.setLevel(logging.NOTSET)
            found.handlers = []
            found.propagate = True
        else:
            found.disabled = False
    for name, entry in named.items():
        logger = logging.getLogger(name)
        logger.setLevel(entry["level"])
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
        for each in entry.get("handlers", ()):
            logger.addHandler(handlers[each])
        logger.propagate = entry.get("propagate", logger.propagate)
        logger.disabled = False
