"""The parts that the cost of a request is charged to, and which functions belong to them."""

from __future__ import annotations

import os
from typing import Optional

from .graph import OTHER, Function

LOOP = "event loop"
CONNECTION = "connection"
PARSER = "parsing and checking the request"
SCOPE = "scope"
TASK = "starting and ending the task"
CYCLE = "receive() and send()"
RESPONSE = "encoding and writing the response"
APPLICATION = "the application"

#: In the order in which a request meets them, with what is in them.
PARTS = {
    LOOP: "uvloop with libuv, and transports of our own: waiting for sockets, reading, writing, calling back",
    CONNECTION: "what becomes of the bytes; order, deadlines, keep-alive",
    PARSER: "llhttp, header fields, the rules of RFC 9112",
    SCOPE: "the dictionary that the application gets",
    TASK: "the coroutine, a fresh context, asyncio's Task",
    CYCLE: "states, events and messages between the application and the connection",
    RESPONSE: "status line, header fields, Date, one write",
    APPLICATION: "byte code: two awaits, two dictionaries",
    OTHER: "",
}

_MODULES = {
    "connection": CONNECTION,
    "exchange": CONNECTION,
    "figures": CONNECTION,
    "state": CONNECTION,
    "throttle": CONNECTION,
    "parser": PARSER,
    "reader": PARSER,
    "head": PARSER,
    "received": PARSER,
    "rules": PARSER,
    "scope": SCOPE,
    "scopedict": SCOPE,
    "launch": TASK,
    "_asyncio": TASK,
    "cycle": CYCLE,
    "flow": CYCLE,
    "responder": RESPONSE,
    "response": RESPONSE,
    "output": RESPONSE,
    "wire": RESPONSE,
    "loop": LOOP,
    "reactor": LOOP,
    "transport": LOOP,
    "poller": LOOP,
}
_PACKAGES = ("_speedups", "uvloop", "lib-dynload")

#: Where byte code runs. On the way of a request that is only the application.
_BYTE_CODE = "_PyEval_EvalFrameDefault"


def part_of(function: Function) -> Optional[str]:
    """The part that a function belongs to by itself."""
    file, name = function
    if name.partition("'")[0] == _BYTE_CODE:
        return APPLICATION
    folder, base = os.path.split(file)
    if os.path.basename(folder) not in _PACKAGES:
        return None
    return _MODULES.get(base.partition(".")[0])
