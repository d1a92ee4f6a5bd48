# cython: cdivision=True
"""ResponseEncoder: the bytes of HTTP/1.x responses. The compiled twin of `_core/wire.py`: same names, same bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from ..errors import AppError

cdef int FRAMING_CHUNKED
from .._consts import FORBIDDEN_TRAILERS, FRAMING_CHUNKED, STATUS_LINES

cdef extern from *:
    """
    #include <stdint.h>

    /* Whether none of the bytes is a control character other than a tab (RFC 9110 section 5.5). */
    static int is_field_value(const unsigned char *text, Py_ssize_t size) {
        const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
        uint64_t word, deletes;
        while (size >= 8) {
            memcpy(&word, text, 8);
            deletes = word ^ ones * 0x7f;
            if (((word - ones * 0x20) & ~word & tops) | ((deletes - ones) & ~deletes & tops))
                break; /* there may be one, or only a tab */
            text += 8;
            size -= 8;
        }
        for (; size; text++, size--)
            if ((*text < 0x20 && *text != '\t') || *text == 0x7f)
                return 0;
        return 1;
    }

    /* Whether all bytes are in the table, and there are any. */
    static int is_made_of(const unsigned char *text, Py_ssize_t size, const unsigned char *table) {
        Py_ssize_t at;
        for (at = 0; at < size; at++)
            if (!table[text[at]])
                return 0;
        return size > 0;
    }
    """
    bint is_field_value(const unsigned char *text, Py_ssize_t size) noexcept
    bint is_made_of(const unsigned char *text, Py_ssize_t size, const unsigned char *table) noexcept

cdef unsigned char _in_token[256]
cdef dict _status_lines = STATUS_LINES
#: The same by status, borrowed.
cdef PyObject *_lines_by_status[1000]

cdef enum:
    PLAIN, DATE, SERVER, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING  # kinds of fields
    KNOWN_SIZE = 64
    MAX_KNOWN_VALUE = 256

#: Fields that have been checked, each at the place that its address says, and their kinds. Applications often send the
#: same tuples again; it cannot have changed, and as long as it is here, its address is no other's.
cdef list _known_fields = [None] * KNOWN_SIZE
cdef unsigned char _known_kinds[KNOWN_SIZE]

cdef enum:
    ROOM = 512  # of a response head at first
    KEPT_ROOM = 4096  # the most that a connection keeps between two responses
    LINE_ROOM = 24  # more than a 64-bit number and CRLF take


cdef _make_tables():
    cdef int code
    for code in range(256):
        _in_token[code] = 0
    for code in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        _in_token[code] = 1
    for code, line in _status_lines.items():
        _lines_by_status[code] = <PyObject *>line

_make_tables()


cdef class CommonFields:
    """The field lines that go into every response; `server` rebuilds the date once a second.

    Attributes:
        date: the Date line with its CRLF, or empty.
        server: the Server line with its CRLF, or empty.
        extra: further lines.
        lines: all of them together.
    """

    def __init__(self, bytes server, bytes extra):
        self.date = b""
        self.server = server
        self.extra = extra
        self.lines = server + extra

    cpdef set_date(self, bytes date):
        """Replace the Date line."""
        self.date = date
        self.lines = date + self.server + self.extra


cdef class ResponseEncoder:
    """Encodes one response after the other.

    start() takes the application's fields, finish() completes the head and may put a body behind it. In between, the
    registers say what the fields decided.

    Attributes:
        content_length: the application's Content-Length in bytes, or -1.
        close: whether the application sent `Connection: close`.
    """

    def __init__(self):
        self.content_length = -1

    def __dealloc__(self):
        free(self._data)

    cdef int _reserve(self, Py_ssize_t size) except -1:
        cdef Py_ssize_t room
        cdef char *grown
        if self._size + size <= self._room:
            return 0
        room = self._room * 2 if self._room else ROOM
        while room < self._size + size:
            room *= 2
        grown = <char *>realloc(self._data, room)
        if grown is NULL:
            raise MemoryError()
        self._data = grown
        self._room = room
        return 0

    cdef int _put(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        self._reserve(size)
        memcpy(self._data + self._size, PyBytes_AS_STRING(data), size)
        self._size += size
        return 0

    cdef int _put_field(self, bytes name, bytes value) except -1:
        cdef Py_ssize_t name_size = PyBytes_GET_SIZE(name)
        cdef Py_ssize_t value_size = PyBytes_GET_SIZE(value)
        cdef char *to
        self._reserve(name_size + value_size + 4)
        to = self._data + self._size
        memcpy(to, PyBytes_AS_STRING(name), name_size)
        to += name_size
        to[0] = b":"
        to[1] = b" "
        memcpy(to + 2, PyBytes_AS_STRING(value), value_size)
        to += value_size + 2
        to[0] = b"\r"
        to[1] = b"\n"
        self._size += name_size + value_size + 4
        return 0

    cpdef start(self, int status, object headers, CommonFields common):
        """Begin a response head: status line, the application's fields, ours.

        Transfer-Encoding is left out (ASGI HTTP spec, "Response Start"); Content-Length is kept back for finish().
        A Date or Server of the application takes the place of ours.

        Raises:
            AppError: a field name or value is not allowed in HTTP.
        """
        cdef bint has_date = False
        cdef bint has_server = False
        cdef bytes name, value
        cdef tuple pair
        cdef int kind
        cdef Py_ssize_t slot
        self.content_length = -1
        self.close = False
        if self._room > KEPT_ROOM:
            free(self._data)
            self._data = NULL
            self._room = 0
        self._size = 0
        if not 100 <= status < 1000:
            raise KeyError(status)
        self._put(<bytes>_lines_by_status[status])
        for field in headers:
            slot = (<size_t><void *>field >> 5) & (KNOWN_SIZE - 1)
            if PyList_GET_ITEM(_known_fields, slot) == <PyObject *>field and field is not None:
                pair = <tuple>field
                kind = _known_kinds[slot]
            else:
                pair = check_field(field)
                kind = _kind_of(<bytes>pair[0])
                if pair is field and PyBytes_GET_SIZE(<bytes>pair[1]) <= MAX_KNOWN_VALUE:
                    _known_fields[slot] = pair
                    _known_kinds[slot] = kind
            name = <bytes>PyTuple_GET_ITEM(pair, 0)
            value = <bytes>PyTuple_GET_ITEM(pair, 1)
            if kind == DATE:
                has_date = True
            elif kind == SERVER:
                has_server = True
            elif kind == CONNECTION:
                self.close = self.close or has_close(value)
            elif kind == CONTENT_LENGTH:
                self._set_content_length(value)
                continue
            elif kind == TRANSFER_ENCODING:
                continue
            self._put_field(name, value)
        if has_date or has_server:
            if not has_date:
                self._put(common.date)
            if not has_server:
                self._put(common.server)
            self._put(common.extra)
        else:
            self._put(common.lines)

    cdef int _set_content_length(self, bytes value) except -1:
        cdef long long length = parse_content_length(value)
        if length < 0 or (self.content_length >= 0 and self.content_length != length):
            raise AppError(f"invalid content-length header {value!r} in 'http.response.start'")
        self.content_length = length
        return 0

    cpdef bytes finish(self, int framing, long long length, bytes connection, bytes body):
        """Complete the head that start() began and return it with `body` behind it.

        Args:
            framing: one of the FRAMING_ numbers.
            length: the Content-Length to send with FRAMING_LENGTH or FRAMING_NONE; -1 for none.
            connection: a whole Connection line, or empty.
            body: bytes to send behind the head; with FRAMING_CHUNKED they become a chunk.
        """
        cdef Py_ssize_t body_size = PyBytes_GET_SIZE(body)
        cdef Py_ssize_t total
        cdef bint is_chunk = framing == FRAMING_CHUNKED and body_size != 0
        cdef bytes data
        cdef char *to
        if framing == FRAMING_CHUNKED:
            self._put(b"transfer-encoding: chunked\r\n")
        elif length >= 0:
            self._put(b"content-length: ")
            self._reserve(LINE_ROOM)
            self._size += _put_number(self._data + self._size, length, 10)
        self._put(connection)
        self._put(b"\r\n")
        if is_chunk:
            self._reserve(LINE_ROOM)
            self._size += _put_number(self._data + self._size, body_size, 16)
        total = self._size + body_size + (2 if is_chunk else 0)
        data = PyBytes_FromStringAndSize(NULL, total)
        to = PyBytes_AS_STRING(data)
        memcpy(to, self._data, self._size)
        memcpy(to + self._size, PyBytes_AS_STRING(body), body_size)
        if is_chunk:
            to[total - 2] = b"\r"
            to[total - 1] = b"\n"
        return data


cdef const char *_DIGITS = b"0123456789abcdef"


cdef Py_ssize_t _put_number(char *to, long long number, int base) noexcept:
    """Write `number` and CRLF at `to`, which has LINE_ROOM bytes of room; return the size of both."""
    cdef char digits[LINE_ROOM]
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t index
    while True:
        digits[count] = _DIGITS[number % base]
        number //= base
        count += 1
        if number == 0:
            break
    for index in range(count):
        to[index] = digits[count - 1 - index]
    to[count] = b"\r"
    to[count + 1] = b"\n"
    return count + 2


cpdef long long parse_content_length(bytes value) noexcept:
    """Return the number in `value`, or -1 when it is none that fits 63 bits."""
    cdef const char *text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef Py_ssize_t index
    cdef long long length = 0
    if size == 0 or size > 18:
        return -1
    for index in range(size):
        if not (c"0" <= text[index] <= c"9"):
            return -1
        length = length * 10 + (text[index] - c"0")
    return length


cpdef bint has_close(bytes value) except -1:
    """Whether `close` is among the comma-separated tokens of a Connection value."""
    return b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]


cpdef bytes find_field(object headers, bytes name, bint joins):
    """Return the value of the first field called `name` (in lower case), or with `joins` of all; None without any."""
    cdef const char *lower = PyBytes_AS_STRING(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    cdef list found = None
    cdef list fields
    cdef bytes key, value
    cdef PyObject *field
    if headers is None:
        return None
    fields = headers if type(headers) is list else list(headers)
    for index in range(PyList_GET_SIZE(fields)):
        field = PyList_GET_ITEM(fields, index)
        if _differs(field, lower, size):
            continue
        name_given, value_given = <object>field
        key = name_given if type(name_given) is bytes else bytes(name_given)
        if PyBytes_GET_SIZE(key) != size or not _equals(key, lower):
            continue
        value = value_given if type(value_given) is bytes else bytes(value_given)
        if not joins:
            return value
        if found is None:
            found = []
        found.append(value)
    return None if found is None else b", ".join(found)


cdef inline bint _differs(PyObject *field, const char *lower, Py_ssize_t size) noexcept:
    """Whether a field has another name, seen at a glance: most have another length or first letter."""
    cdef PyObject *name
    if not PyTuple_CheckExact(<object>field) or PyTuple_GET_SIZE(<object>field) != 2:
        return False
    name = PyTuple_GET_ITEM(<object>field, 0)
    if not PyBytes_CheckExact(<object>name):
        return False
    if PyBytes_GET_SIZE(<object>name) != size:
        return True
    return (PyBytes_AS_STRING(<object>name)[0] | 32) != (lower[0] | 32)


cdef inline bint _equals(bytes name, const char *lower) noexcept:
    """Whether `name` is `lower`, which has the same length, without regard to case."""
    cdef const char *text = PyBytes_AS_STRING(name)
    cdef Py_ssize_t index
    cdef char letter
    for index in range(PyBytes_GET_SIZE(name)):
        letter = text[index]
        if c"A" <= letter <= c"Z":
            letter += 32
        if letter != lower[index]:
            return False
    return True


cdef int _kind_of(bytes name) noexcept:
    """What a field means to us; most names differ in their length already."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    if size == 4:
        return DATE if _equals(name, b"date") else PLAIN
    if size == 6:
        return SERVER if _equals(name, b"server") else PLAIN
    if size == 10:
        return CONNECTION if _equals(name, b"connection") else PLAIN
    if size == 14:
        return CONTENT_LENGTH if _equals(name, b"content-length") else PLAIN
    if size == 17:
        return TRANSFER_ENCODING if _equals(name, b"transfer-encoding") else PLAIN
    return PLAIN


cpdef inline tuple check_field(object field):
    """Return the name and the value of a field that may go on the wire.

    Raises:
        AppError: it may not.
    """
    cdef bytes name, value
    cdef tuple pair
    if type(field) is tuple and len(<tuple>field) == 2:
        pair = <tuple>field
        if type(pair[0]) is not bytes or type(pair[1]) is not bytes:
            pair = (_to_bytes(pair[0]), _to_bytes(pair[1]))
    else:
        try:
            first, second = field
        except (TypeError, ValueError):
            raise AppError(f"a header must be a (name, value) pair of bytes, not {field!r}") from None
        pair = (_to_bytes(first), _to_bytes(second))
    name = <bytes>pair[0]
    value = <bytes>pair[1]
    if not is_made_of(<const unsigned char *>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), _in_token):
        raise AppError(f"invalid header name {name!r}")
    if not is_field_value(<const unsigned char *>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
        raise AppError(f"forbidden character in the value of header {name!r}")
    return pair


cdef bytes _to_bytes(object item):
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise AppError(f"header names and values must be bytes, not {type(item).__name__}: {item!r}")


cpdef bytes encode_chunk(bytes body, bint last):
    """Return `body` (not empty) as a chunk, with the last-chunk and an empty trailer section when `last`."""
    cdef char line[LINE_ROOM]
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef Py_ssize_t line_size = _put_number(line, size, 16)
    cdef bytes data = PyBytes_FromStringAndSize(NULL, line_size + size + (7 if last else 2))
    cdef char *to = PyBytes_AS_STRING(data)
    memcpy(to, line, line_size)
    memcpy(to + line_size, PyBytes_AS_STRING(body), size)
    if last:
        memcpy(to + line_size + size, b"\r\n0\r\n\r\n", 7)
    else:
        memcpy(to + line_size + size, b"\r\n", 2)
    return data


cpdef bytes encode_trailers(object headers):
    """Return the last-chunk and the trailer section (RFC 9112 section 7.1.2).

    Raises:
        AppError: a field is not allowed, or not allowed in trailers (RFC 9110 section 6.5.1).
    """
    cdef list parts = [b"0\r\n"]
    cdef bytes name, value
    for field in headers:
        name, value = check_field(field)
        if name.lower() in FORBIDDEN_TRAILERS:
            raise AppError(f"header {name!r} is not allowed in 'http.response.trailers'")
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"\r\n")
    return b"".join(parts)


cpdef bytes encode_informational(int status, object headers):
    """Return a whole 1xx response.

    Raises:
        AppError: a field is not allowed in HTTP.
    """
    cdef list parts = [_status_lines[status]]
    for field in headers:
        parts.append(b"%b: %b\r\n" % check_field(field))
    parts.append(b"\r\n")
    return b"".join(parts)


cpdef bytes encode_frame(int kind, int flags, long long stream_id, bytes content, Py_ssize_t start=0, Py_ssize_t end=-1):
    """Return an HTTP/2 frame (RFC 9113 section 4.1) with `content` from `start` to `end`, which is less than 16 MiB."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(content)
    if end < 0 or end > size:
        end = size
    if start < 0 or start > end:
        start = end
    size = end - start
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, 9 + size)
    cdef unsigned char *to = <unsigned char *>PyBytes_AS_STRING(frame)
    to[0] = <unsigned char>(size >> 16)
    to[1] = <unsigned char>(size >> 8)
    to[2] = <unsigned char>size
    to[3] = <unsigned char>kind
    to[4] = <unsigned char>flags
    to[5] = <unsigned char>(stream_id >> 24)
    to[6] = <unsigned char>(stream_id >> 16)
    to[7] = <unsigned char>(stream_id >> 8)
    to[8] = <unsigned char>stream_id
    memcpy(to + 9, PyBytes_AS_STRING(content) + start, size)
    return frame
