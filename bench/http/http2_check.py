"""One checked exchange over HTTP/2, with another client than the load generator."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Optional

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from ..process import ServerFailed
from .http2 import fields_of
from .workloads import Workload

READ_SIZE = 65536


@dataclass
class _Answer:
    """What has come on a stream so far."""

    status: Optional[bytes] = None
    body: bytes = b""
    ended: bool = False


def check(workload: Workload, sock: socket.socket) -> None:
    """Send as many requests at once as the workload does, twice, and compare every answer.

    :raises ServerFailed: an answer is missing or not the expected one.
    """
    connection = H2Connection(H2Configuration(header_encoding=None))
    connection.initiate_connection()
    try:
        for _ in range(2):
            _exchange(workload, sock, connection)
    except ProtocolError as error:
        raise ServerFailed(f"wrong answer: {error!r}") from error
    connection.close_connection()
    sock.sendall(connection.data_to_send())


def _exchange(workload: Workload, sock: socket.socket, connection: H2Connection) -> None:
    answers = {}
    for _ in range(workload.depth):
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, fields_of(workload), end_stream=True)
        answers[stream] = _Answer()
    sock.sendall(connection.data_to_send())
    while not all(answer.ended for answer in answers.values()):
        data = sock.recv(READ_SIZE)
        if not data:
            raise ServerFailed("no answer: the connection was closed")
        for event in connection.receive_data(data):
            _take(event, answers, connection)
        sock.sendall(connection.data_to_send())
    for answer in answers.values():
        if answer.status != b"200":
            raise ServerFailed(f"wrong answer: status {(answer.status or b'none').decode()}")
        if answer.body != workload.expected:
            raise ServerFailed(f"wrong answer: {len(answer.body)} bytes of body are not the expected ones")


def _take(event: Any, answers: dict[int, _Answer], connection: H2Connection) -> None:
    if isinstance(event, ResponseReceived):
        answers[event.stream_id].status = dict(event.headers)[b":status"]
    elif isinstance(event, DataReceived):
        answers[event.stream_id].body += event.data
        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    elif isinstance(event, StreamEnded):
        answers[event.stream_id].ended = True
    elif isinstance(event, (StreamReset, ConnectionTerminated)):
        raise ServerFailed(f"wrong answer: {event!r}")
