"""TLSTransport: TLS between a socket's transport and the protocol that serves it (RFC 8446, RFC 5246).

To the socket's transport it is the protocol; once the handshake is done it makes the connection of the protocol that
was agreed on, and is its transport. It keeps nothing back: what is written is encrypted at once and goes into the
buffer below, so that the size of that buffer, its high-water mark and the deadlines on it mean the same as without TLS.
Either side can end on its own, as in TCP. What is served over TLS, and the certificates, are others' business.
"""

import logging
import ssl
from math import inf
from typing import Any, Optional

from .connection import HTTPConnection
from .state import ServerState

logger = logging.getLogger("asgiserve.error")

#: Most bytes in a record (RFC 8446 section 5.1).
RECORD_SIZE = 16 * 1024
#: Bytes to encrypt in one go: what is encrypted piece by piece stays in the CPU's cache.
WRITE_SIZE = 64 * 1024
#: Seconds in which a client can take the alert, or the answer, that comes before an end for cause.
LAST_WORDS_TIME = 2.0
#: Seconds in which a client that was sent something may end its own side before we close the connection.
PARTING_TIME = 2.0

#: The answer to a client that speaks HTTP without TLS.
PLAIN_HTTP = b"plain HTTP was sent to a port that speaks TLS"
_PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(PLAIN_HTTP), PLAIN_HTTP)
)

# The phases of a connection. ENDED: our side has ended, what still comes is dropped. PARTING: the same, and closed as
# soon as the client ends its own. CLOSED: closed, or being closed.
_HANDSHAKE, _OPEN, _ENDED, _PARTING, _CLOSED = range(5)


class TLSTransport:
    """TLS on one connection. A new one expects connection_made() from the socket's transport.

    Args:
        state: what the connections share. Until the handshake is done, this object is one of them.
        tls: any object with `timeout`, the seconds that a handshake may take, and `current`: an object with `context`,
            the SSLContext, and `extension(ssl_object)`, which returns the ASGI `tls` extension of a connection.
    """

    __slots__ = (
        "_state",
        "_tls",
        "_transport",
        "_protocol",
        "_served",
        "_ssl",
        "_decrypt",
        "_encrypt",
        "_incoming",
        "_outgoing",
        "_extension",
        "_phase",
        "_deadline",
        "_written",
        "_timer",
        "_is_reading_paused",
        "_is_reading",
        "_is_writing",
        "_is_pause_due",
        "_is_cut",
        "_has_ended",
        "_is_end_due",
    )

    def __init__(self, state: ServerState, tls: Any) -> None:
        self._state: ServerState = state
        self._tls: Any = tls
        self._transport: Any = None
        self._protocol: Any = None
        self._served: Any = None
        self._ssl: Any = None  # made when the client sends something: it is most of the memory of a connection
        self._decrypt: Any = None  # its read() and write()
        self._encrypt: Any = None
        self._incoming: Any = None
        self._outgoing: Any = None
        self._extension: Any = None
        self._phase: int = _HANDSHAKE
        self._deadline: float = inf
        self._written: float = 0.0  # when something was written last, in the event loop's time
        self._timer: Any = None  # while parting
        self._is_reading_paused: bool = False
        self._is_reading: bool = False
        self._is_writing: bool = False
        self._is_pause_due: bool = False  # the protocol has yet to be told to write no more
        self._is_cut: bool = False  # of a record that has begun, the rest has yet to come
        self._has_ended: bool = False  # the client has ended its side
        self._is_end_due: bool = False  # and the protocol has yet to be told

    # -- callbacks of the socket's transport

    def connection_made(self, transport: Any) -> None:
        """The socket's transport is ready; the handshake has to be done within the timeout."""
        self._transport = transport
        self._state.connections.add(self)
        self._deadline = self._state.now + self._tls.timeout
        if self._state.stopping:
            self.close()

    def data_received(self, data: bytes) -> None:
        """Input came."""
        if self._phase == _OPEN:
            self._incoming.write(data)
            self._read()
        elif self._phase == _HANDSHAKE:
            if self._ssl is None:
                if 65 <= data[0] <= 90:  # a capital letter begins a method, not a record
                    self._answer_plain_http()
                    return
                self._start()
            self._incoming.write(data)
            self._shake_hands()

    def eof_received(self) -> bool:
        """The client ended its side, with or without having said so in TLS before.

        Returns:
            True: we close ourselves, so that our end is said in TLS too.
        """
        if self._phase == _HANDSHAKE:
            self._fail_handshake("the client closed the connection")
        elif self._phase == _PARTING:
            self._close_transport()
        elif self._phase != _CLOSED and not self._has_ended:
            self._has_ended = True
            self._tell_end()
        return True

    def connection_lost(self, error: Optional[Exception]) -> None:
        """The socket's transport is closed."""
        self._state.connections.discard(self)
        if self._phase == _HANDSHAKE:
            self._log_failure("the connection was reset" if error is not None else "the connection was closed")
        self._phase = _CLOSED
        self._deadline = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        protocol = self._protocol
        self._protocol = None
        if protocol is not None:
            protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """The buffer of the socket's transport is full."""
        if self._is_writing:
            self._is_pause_due = True  # how much there is to wait for is not known yet
        elif self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The buffer of the socket's transport has room again."""
        if self._is_pause_due:
            self._is_pause_due = False
        elif self._protocol is not None:
            self._protocol.resume_writing()

    # -- for the server, until the handshake is done

    def shutdown(self) -> None:
        """Close: nothing has been asked yet."""
        self.close()

    def disconnect_app(self) -> None:
        """No application runs yet."""

    def is_due(self, now: float) -> bool:
        """Whether on_tick() has something to do."""
        return self._deadline <= now

    def on_tick(self, now: float) -> None:
        """The handshake has taken too long, or the client does not take what was written before the end."""
        if self._phase == _HANDSHAKE:
            self._fail_handshake("not done within %g s" % self._tls.timeout)
        else:
            self.abort()

    # -- the handshake

    def _start(self) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._served = self._tls.current
        self._ssl = self._served.context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def _shake_hands(self) -> None:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except OSError as error:  # every SSLError is one
            self._flush()  # the alert, which tells the client why
            self._fail_handshake(reason_of(error))
            return
        self._flush()
        self._state.connections.discard(self)
        self._deadline = inf
        self._phase = _OPEN
        # The object behind an SSLObject does the same, without a Python function in front.
        inner = getattr(self._ssl, "_sslobj", self._ssl)
        self._decrypt = inner.read
        self._encrypt = inner.write
        self._extension = self._served.extension(self._ssl)
        http2 = self._state.http2
        if http2 is not None and self._ssl.selected_alpn_protocol() == "h2":
            self._protocol = http2(self._state)
        else:
            self._protocol = HTTPConnection(self._state)
        self._protocol.connection_made(self)
        self._read()

    def _fail_handshake(self, reason: str) -> None:
        self._log_failure(reason)
        self._give_up()

    def _log_failure(self, reason: str) -> None:
        # Who connects and says nothing is a probe, or a browser that is early: not worth a line.
        level = logging.DEBUG if self._ssl is None else logging.WARNING
        logger.log(level, "%s - TLS handshake failed: %s", self._peer(), reason)

    def _answer_plain_http(self) -> None:
        logger.warning("%s - 400 Bad Request: %s", self._peer(), PLAIN_HTTP.decode())
        self._transport.write(_PLAIN_HTTP_ANSWER)
        self._give_up()

    def _give_up(self) -> None:
        """Close, and soon also when the client does not take the last words."""
        self._deadline = self._state.now + LAST_WORDS_TIME
        self._state.connections.add(self)
        self._close_transport()

    def _peer(self) -> str:
        """The client's name in the error log."""
        address = self._transport.get_extra_info("peername")
        return "%s:%s" % address[:2] if isinstance(address, (tuple, list)) and len(address) >= 2 else "unix"

    # -- reading

    def _read(self) -> None:
        """Give the protocol all that has come, in one piece, however many records it is."""
        if self._is_reading or self._is_reading_paused:
            return
        self._is_reading = True
        try:
            while self._phase == _OPEN and self._incoming.pending and not (self._is_reading_paused or self._has_ended):
                self._read_once()
        finally:
            self._is_reading = False
        if self._is_end_due and self._phase == _OPEN and not self._is_reading_paused:
            self._tell_end()

    def _read_once(self) -> None:
        incoming = self._incoming
        read = self._decrypt
        # A whole record holds fewer bytes than it takes; a buffer for the most that is possible would cost more.
        size = RECORD_SIZE if self._is_cut else min(incoming.pending, RECORD_SIZE)
        self._is_cut = False
        data = b""
        chunks: Optional[list[bytes]] = None
        fault = ""
        try:
            data = read(size)
            while data and incoming.pending:
                if chunks is None:
                    chunks = []
                chunks.append(data)
                data = read(RECORD_SIZE)
            if not data:
                self._has_ended = True
        except ssl.SSLWantReadError:
            data = b""
            self._is_cut = True
        except ssl.SSLZeroReturnError:
            data = b""
            self._has_ended = True
        except OSError as error:
            data = b""
            fault = reason_of(error)
        if self._outgoing.pending and not self._transport.is_closing():  # an answer of TLS itself, or an alert
            self._flush()
        if chunks is not None:
            if data:
                chunks.append(data)
            data = b"".join(chunks)
        self._is_end_due = self._has_ended
        if data:
            self._protocol.data_received(data)
        if fault and self._phase == _OPEN:
            self._fail(fault)

    def _tell_end(self) -> None:
        self._is_end_due = False
        if not self._protocol.eof_received():
            self.close()

    def _resume(self) -> None:
        if self._phase == _OPEN:
            self._read()

    def _fail(self, reason: str) -> None:
        """What came is no TLS, or was tampered with, or the peer gave up: nothing more can be read or written."""
        logger.warning("%s - TLS error: %s", self._peer(), reason)
        self._give_up()

    # -- the transport of the protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known: `sslcontext`, `ssl_object`, `tls_extension` here, the rest from the socket."""
        if name == "sslcontext":
            return self._served.context
        if name == "ssl_object":
            return self._ssl
        if name == "tls_extension":
            return self._extension
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: Any) -> None:
        """Give the connection to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """Return the protocol that is served."""
        return self._protocol

    def is_reading(self) -> bool:
        """Whether input is taken."""
        return not self._is_reading_paused and self._phase < _PARTING

    def pause_reading(self) -> None:
        """Take no input for now."""
        self._is_reading_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take input again."""
        self._is_reading_paused = False
        self._transport.resume_reading()
        if not self._is_reading and self._phase == _OPEN and (self._incoming.pending or self._is_end_due):
            self._state.loop.call_soon(self._resume, context=self._state.launcher.context)

    def write(self, data: bytes) -> None:
        """Encrypt `data` and pass it on; nothing happens when this side has ended."""
        if len(data) > WRITE_SIZE:
            self.writelines([data])
        elif self._phase == _OPEN and data:
            try:
                self._encrypt(data)
            except OSError as error:
                self._fail(reason_of(error))
                return
            self._written = self._state.now
            self._transport.write(self._outgoing.read())

    def writelines(self, chunks: "list[bytes]") -> None:
        """Write all of `chunks`. When it is time to pause, the protocol is told behind the last of them."""
        if self._phase != _OPEN:
            return
        self._written = self._state.now
        self._is_writing = True
        outgoing = self._outgoing
        fault = ""
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                for start in range(0, len(view), WRITE_SIZE):
                    self._encrypt(view[start : start + WRITE_SIZE])
                    if outgoing.pending >= WRITE_SIZE:
                        self._transport.write(outgoing.read())
        except OSError as error:
            fault = reason_of(error)
        self._flush()
        self._is_writing = False
        if fault:
            self._fail(fault)
        elif self._is_pause_due:
            self._is_pause_due = False
            self._protocol.pause_writing()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not left yet."""
        size: int = self._transport.get_write_buffer_size()
        return size

    def get_write_buffer_limits(self) -> Any:
        """Return the low-water and the high-water mark."""
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: Optional[int] = None, low: Optional[int] = None) -> None:
        """Set the high-water and the low-water mark."""
        self._transport.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Whether this side can be ended alone."""
        return True

    def write_eof(self) -> None:
        """End this side, in TLS. What the client still sends is dropped, its end is told."""
        if self._phase == _OPEN:
            self._phase = _ENDED
            self._say_end()

    def is_closing(self) -> bool:
        """Whether the connection is closed, or being closed."""
        closing: bool = self._phase >= _PARTING or self._transport.is_closing()
        return closing

    def close(self) -> None:
        """Close when what was written has left.

        A client that was sent something just now gets a little time to end its own side: there are some, uvloop's among
        them, that drop what they have not looked at when the connection ends under them.
        """
        if self._phase == _OPEN:
            is_recent = self._state.now - self._written < PARTING_TIME or self._transport.get_write_buffer_size() > 0
            self._say_end()
            if is_recent and not self._has_ended:
                self._part()
                return
        if self._phase != _PARTING:
            self._close_transport()

    def _part(self) -> None:
        self._phase = _PARTING
        self._timer = self._state.loop.call_later(PARTING_TIME, self._end_parting)
        if self._is_reading_paused:
            self._transport.resume_reading()

    def _end_parting(self) -> None:
        if self._transport.get_write_buffer_size():  # the protocol watches over that
            self._timer = self._state.loop.call_later(PARTING_TIME, self._end_parting)
        else:
            self._close_transport()

    def abort(self) -> None:
        """Close at once; what has not left is lost."""
        self._phase = _CLOSED
        self._transport.abort()

    def _close_transport(self) -> None:
        self._phase = _CLOSED
        self._transport.close()

    def _say_end(self) -> None:
        if self._transport.is_closing():
            return
        try:
            self._ssl.unwrap()
        except OSError:
            pass  # the client has not ended its side, and need not
        self._flush()


def reason_of(error: Exception) -> str:
    """Return in a few words what OpenSSL says about a failure."""
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    text = reason.replace("_", " ").lower()
    detail = getattr(error, "verify_message", None)
    if detail:
        return "%s: %s" % (text, detail)
    _, alert, what = text.partition(" alert ")
    return "the client says: %s" % what if alert else text
