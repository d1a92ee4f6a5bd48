"""FrameCodec: WebSocket frames. The compiled twin of `_core/frames.py`: same events, same errors, same bytes.

A message of one frame that is there as a whole is unmasked into the object that is handed out. Any other message is
collected in a bytes object that grows with what has come, never with what was announced.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_Check
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from asgiserve._speedups.deflate cimport Deflate, DeflateParameters
from asgiserve._speedups.payload cimport check_utf8, decode_utf8, is_ascii, load_mask, rotate_mask, unmask

from ..errors import FrameError

cdef extern from "Python.h":
    # With plain pointers: no reference is counted, and an object that grows must have one only.
    PyObject *_new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    unsigned char *_bytes_of "(unsigned char *)PyBytes_AS_STRING"(PyObject *data)
    unsigned char *_text_of "(unsigned char *)PyUnicode_DATA"(PyObject *text)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    # Opcodes (RFC 6455 section 5.2); those that make an event are the WS_ numbers.
    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10
    # No opcodes, but events too: feed() has to bring more; a frame is done that makes no event.
    NEED_DATA = 0
    NO_EVENT = 3
    # Of the first two bytes of a frame.
    FIN = 0x80
    RSV1 = 0x40
    RSV = 0x70
    OPCODE = 0x0f
    MASKED = 0x80
    LENGTH = 0x7f
    # The longest payload of a control frame, and of a close frame's reason.
    CONTROL_SIZE = 125
    REASON_SIZE = 123
    TLS_FAILED = 1015  # a close code that has no name of ours

cdef int CLOSE_ABNORMAL, CLOSE_INVALID_DATA, CLOSE_NO_STATUS, CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR, CLOSE_TOO_BIG
from .._consts import (
    CLOSE_ABNORMAL,
    CLOSE_INVALID_DATA,
    CLOSE_NO_STATUS,
    CLOSE_NORMAL,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_BIG,
)

cdef long long UNLIMITED = 0x7fffffffffffffffLL  # no enum: not all compilers have wide ones


@cython.final
cdef class FrameCodec:
    """Decodes what the peer of one connection sends, and encodes what is sent to it.

    feed() takes bytes and next_event() says what they are, one event at a time. What an event brings stands in
    registers until the next call. After WS_CLOSE or an error, nothing more is read.

    Attributes:
        payload: the message after WS_TEXT (str) and WS_BINARY (bytes), the application data after WS_PING and WS_PONG.
        code: the status of the peer's close frame after WS_CLOSE; CLOSE_NO_STATUS when there is none.
        reason: its reason.
        is_compressing: whether messages are sent compressed.
    """

    def __init__(self, long long max_size, DeflateParameters deflate):
        """
        Args:
            max_size: the most bytes of a message, as sent and decompressed; -1 for any number.
            deflate: what was agreed about compression; None for nothing.
        """
        self.code = CLOSE_NO_STATUS
        self.reason = ""
        self._max_size = max_size if max_size >= 0 else UNLIMITED
        if deflate is not None:
            self.is_compressing = True
            self._deflate = Deflate(deflate)

    def __dealloc__(self):
        Py_XDECREF(self._message)

    # -- decoding

    cpdef feed(self, bytes data):
        """Take bytes from the peer."""
        if self._is_over or PyBytes_GET_SIZE(data) == 0:
            return
        if self._data is None and self._queue is None:
            self._data = data
            self._at = <const unsigned char *>PyBytes_AS_STRING(data)
            self._end = self._at + PyBytes_GET_SIZE(data)
        else:
            if self._queue is None:
                self._queue = []
            self._queue.append(data)
            self._queue_size += PyBytes_GET_SIZE(data)

    cpdef int next_event(self) except -1:
        """Return what comes next, one of the WS_ numbers.

        Raises:
            FrameError: the peer broke a rule.
        """
        cdef int event
        self.payload = None
        while True:
            if self._data is None:
                if self._queue is None:
                    return NEED_DATA
                self._join()
            event = self._take_part() if self._is_in_frame else self._read_frame()
            if self._at == self._end:
                self._data = None
            if event == NEED_DATA:
                if self._queue is None:
                    return NEED_DATA
                self._join()
            elif event != NO_EVENT:
                return event

    cpdef Py_ssize_t input_size(self) noexcept:
        """Bytes of input that no event and no message that is being collected has taken."""
        return self._end - self._at + self._queue_size

    cdef int _join(self) except -1:
        """Put what was fed behind what is left, which is less than the head of a frame or a control frame."""
        cdef list queue = self._queue
        self._queue = None
        self._queue_size = 0
        if self._data is not None:
            queue.insert(0, PyBytes_FromStringAndSize(<const char *>self._at, self._end - self._at))
            self._data = None
        self._at = self._end
        self.feed(queue[0] if len(queue) == 1 else b"".join(queue))
        return 0

    cdef int _read_frame(self) except -1:
        """Read the head of a frame, and the frame if it is all there. The order of checks is that of the pure twin."""
        cdef const unsigned char *head = self._at
        cdef const unsigned char *data
        cdef Py_ssize_t available = self._end - head
        cdef int opcode
        cdef uint64_t size
        if available < 2:
            return NEED_DATA
        opcode = head[0] & OPCODE
        size = head[1] & LENGTH
        if opcode > BINARY and (opcode < CLOSE or opcode > PONG or not head[0] & FIN or size > CONTROL_SIZE):
            return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
        data = head + 6
        if size > 125:
            if size == 126:
                if available < 4:
                    return NEED_DATA
                size = head[2] << 8 | head[3]
                data = head + 8
                if size < 126:
                    return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
            else:
                if available < 10:
                    return NEED_DATA
                size = _load_length(head + 2)
                data = head + 14
                if size < 65536 or size >> 63:
                    return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
        if head[0] & RSV:
            if self._deflate is None or head[0] & RSV != RSV1 or (opcode != TEXT and opcode != BINARY):
                return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
        if opcode < CLOSE:
            if (opcode == CONTINUATION) != (self._opcode != 0):
                return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
            if size > <uint64_t>(self._max_size - self._received):
                return self._fail(CLOSE_TOO_BIG, "message too big")
        if not head[1] & MASKED:
            return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
        available = self._end - data
        if available < 0:
            return NEED_DATA
        if <uint64_t>available >= size:
            if opcode and head[0] & (FIN | RSV1) == FIN:
                self._at = data + size
                if opcode == TEXT:
                    return self._take_text(data, <Py_ssize_t>size)
                return self._take_bytes(opcode, data, <Py_ssize_t>size)
        elif opcode >= CLOSE or available == 0:
            return NEED_DATA
        if opcode:
            self._opcode = opcode
            self._is_compressed = head[0] & RSV1 != 0
        self._is_last = head[0] & FIN != 0
        self._is_in_frame = True
        self._left = <long long>size
        self._mask = load_mask(data - 4)
        self._at = data
        return self._take_part()

    cdef int _take_text(self, const unsigned char *data, Py_ssize_t size) except -1:
        """Take a text message of one frame."""
        if size == 0:
            self.payload = ""
            return TEXT
        self.payload = PyUnicode_New(size, 127)
        if not is_ascii(unmask(_text_of(<PyObject *>self.payload), data, size, load_mask(data - 4))):
            # Not US-ASCII: what was meant to be the message is only a buffer, and nobody else has seen it.
            self.payload = decode_utf8(_text_of(<PyObject *>self.payload), size)
            if self.payload is None:
                return self._fail(CLOSE_INVALID_DATA, "invalid UTF-8")
        return TEXT

    cdef int _take_bytes(self, int opcode, const unsigned char *data, Py_ssize_t size) except -1:
        """Take a binary message of one frame, or a control frame."""
        self.payload = PyBytes_FromStringAndSize(NULL, size)
        unmask(_bytes_of(<PyObject *>self.payload), data, size, load_mask(data - 4))
        if opcode == CLOSE:
            return self._take_close(<bytes>self.payload)
        return opcode

    cdef int _take_close(self, bytes payload) except -1:
        """Read the payload of a close frame (RFC 6455 sections 5.5.1 and 7.4)."""
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(payload)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef int code
        cdef str reason
        self.payload = None
        self.code = CLOSE_NO_STATUS
        self.reason = ""
        if size != 0:
            code = data[0] << 8 | data[1] if size > 1 else 0
            if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
                return self._fail(CLOSE_PROTOCOL_ERROR, "protocol error")
            reason = decode_utf8(data + 2, size - 2)
            if reason is None:
                return self._fail(CLOSE_INVALID_DATA, "invalid UTF-8")
            self.code = code
            self.reason = reason
        self._stop()
        return CLOSE

    cdef int _take_part(self) except -1:
        """Take what has come of a data frame."""
        cdef Py_ssize_t size = self._end - self._at
        cdef unsigned char *to
        cdef uint64_t seen
        if size > self._left:
            size = <Py_ssize_t>self._left
        self._left -= size
        self._received += size
        if self._is_compressed:
            self._inflate(size)
        elif size:
            self._reserve(size, self._left if self._is_last else self._size + size)
            to = _bytes_of(self._message)
            seen = unmask(to + self._size, self._at, size, self._mask)
            self._at += size
            if self._opcode == TEXT:
                self._seen |= seen
                if self._checked == self._size and is_ascii(seen):
                    self._checked += size
                else:
                    self._checked = check_utf8(to, self._checked, self._size + size)
                    if self._checked < 0:
                        return self._fail(CLOSE_INVALID_DATA, "invalid UTF-8")
            self._size += size
        if self._left:
            self._mask = rotate_mask(self._mask, size & 3)
            return NEED_DATA
        self._is_in_frame = False
        return self._finish() if self._is_last else NO_EVENT

    cdef int _inflate(self, Py_ssize_t size) except -1:
        """Take a part of a compressed message. Its UTF-8 is checked at the end: the parts must not matter to it."""
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef long long limit = self._max_size - self._size if self._max_size != UNLIMITED else -1
        cdef Py_ssize_t grown
        unmask(<unsigned char *>PyBytes_AS_STRING(data), self._at, size, self._mask)
        self._at += size
        try:
            data = self._deflate.decompress(data, limit, self._is_last and self._left == 0)
        except FrameError:
            self._stop()
            raise
        grown = PyBytes_GET_SIZE(data)
        if grown:
            self._reserve(grown, self._size + grown)
            memcpy(_bytes_of(self._message) + self._size, PyBytes_AS_STRING(data), grown)
            self._size += grown
        return 0

    cdef int _finish(self) except -1:
        """Hand out the message that was collected."""
        cdef int opcode = self._opcode
        cdef Py_ssize_t size = self._size
        cdef unsigned char *data
        if opcode == BINARY:
            if self._message is NULL:
                self.payload = b""
            else:
                if self._room != size:
                    _PyBytes_Resize(&self._message, size)
                self.payload = <object>self._message
        elif self._message is NULL:
            self.payload = ""
        else:
            data = _bytes_of(self._message)
            if self._is_compressed or not is_ascii(self._seen):
                data[size] = 0  # in the room behind, or where each bytes object has it
                self.payload = decode_utf8(data, size)
                if self.payload is None:
                    return self._fail(CLOSE_INVALID_DATA, "invalid UTF-8")
            else:
                self.payload = PyUnicode_New(size, 127)
                memcpy(_text_of(<PyObject *>self.payload), data, size)
        self._forget()
        self._opcode = 0
        self._received = 0
        return opcode

    cdef int _reserve(self, Py_ssize_t size, long long expected) except -1:
        """Make room for `size` bytes of a message, and ahead for those expected, as many as there are at most."""
        cdef Py_ssize_t room = self._size + size
        if room <= self._room:
            return 0
        room += <Py_ssize_t>min(expected, <long long>room)
        if self._message is NULL:
            self._message = _new_bytes(NULL, room)
        else:
            try:
                _PyBytes_Resize(&self._message, room)
            except MemoryError:
                self._stop()  # the message is gone
                raise
        self._room = room
        return 0

    cdef _forget(self):
        Py_XDECREF(self._message)
        self._message = NULL
        self._size = 0
        self._room = 0
        self._checked = 0
        self._seen = 0

    cdef _stop(self):
        self._is_over = True
        self._data = None
        self._at = self._end
        self._queue = None
        self._queue_size = 0
        self._forget()

    cdef int _fail(self, int code, str detail) except -1:
        self._stop()
        raise FrameError(code, detail)

    # -- encoding

    cpdef bytes encode_text(self, object text):
        """Return `text` as a message of one frame."""
        cdef const char *data
        cdef Py_ssize_t size
        if not PyUnicode_Check(text):
            raise TypeError(f"expected str, not {type(text).__name__}")
        if self.is_compressing:
            return self._deflated(TEXT, PyUnicode_AsUTF8String(text))
        if PyUnicode_IS_COMPACT_ASCII(text):
            return _encode(TEXT, <const char *>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
        # The str keeps what this makes: the next to send the same one has it for nothing.
        data = PyUnicode_AsUTF8AndSize(text, &size)
        return _encode(TEXT, data, size)

    cpdef bytes encode_binary(self, object data):
        """Return `data` as a message of one frame."""
        cdef bytes payload = data if type(data) is bytes else bytes(memoryview(data))
        if self.is_compressing:
            return self._deflated(BINARY, payload)
        return _encode(BINARY, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    cdef bytes _deflated(self, int opcode, bytes data):
        data = self._deflate.compress(data)
        return _encode(RSV1 | opcode, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cpdef bytes encode_head(self, int opcode, long long size):
        """Return the head of a message of one frame, not compressed, whose `size` bytes are sent behind it."""
        cdef unsigned char head[10]
        return PyBytes_FromStringAndSize(<const char *>head, _put_head(head, opcode, size))

    cpdef bytes encode_ping(self, bytes payload):
        """Return a ping frame; `payload` has 125 bytes at most."""
        return _encode_control(PING, payload)

    cpdef bytes encode_pong(self, bytes payload):
        """Return a pong frame; `payload` has 125 bytes at most."""
        return _encode_control(PONG, payload)

    cpdef bytes encode_close(self, int code, str reason):
        """Return a close frame, with as much of `reason` as fits; an empty one for CLOSE_NO_STATUS.

        The other two codes that are not for the wire (RFC 6455 section 7.4.1) become 1000.
        """
        cdef bytes data
        cdef Py_ssize_t size
        if code == CLOSE_NO_STATUS:
            return _encode(CLOSE, b"", 0)
        if code == CLOSE_ABNORMAL or code == TLS_FAILED:
            code = CLOSE_NORMAL
        data = reason.encode()
        size = PyBytes_GET_SIZE(data)
        if size > REASON_SIZE:
            size = REASON_SIZE
            while <unsigned char>data[size] & 0xc0 == 0x80:  # within a character
                size -= 1
        data = code.to_bytes(2, "big") + data[:size]
        return _encode(CLOSE, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


# -- frames

cdef inline Py_ssize_t _put_head(unsigned char *to, int first, uint64_t size) noexcept:
    """Write the head of a frame at `to`, which has ten bytes of room; return its size."""
    cdef int index
    to[0] = FIN | first
    if size < 126:
        to[1] = <unsigned char>size
        return 2
    if size < 65536:
        to[1] = 126
        to[2] = <unsigned char>(size >> 8)
        to[3] = <unsigned char>size
        return 4
    to[1] = 127
    for index in range(8):
        to[2 + index] = <unsigned char>(size >> (56 - 8 * index))
    return 10


cdef bytes _encode(int first, const char *data, Py_ssize_t size):
    cdef Py_ssize_t head_size = 2 if size < 126 else 4 if size < 65536 else 10
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, head_size + size)
    cdef char *to = PyBytes_AS_STRING(frame)
    _put_head(<unsigned char *>to, first, <uint64_t>size)
    memcpy(to + head_size, data, size)
    return frame


cdef bytes _encode_control(int opcode, bytes payload):
    if PyBytes_GET_SIZE(payload) > CONTROL_SIZE:
        raise ValueError("payload too long for control frame")
    return _encode(opcode, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef inline uint64_t _load_length(const unsigned char *data) noexcept:
    cdef uint64_t length = 0
    cdef int index
    for index in range(8):
        length = length << 8 | data[index]
    return length
