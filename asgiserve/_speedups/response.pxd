cimport cython

from asgiserve._speedups.calls cimport is_text
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.output cimport Output
from asgiserve._speedups.wire cimport (
    CommonFields,
    ResponseEncoder,
    encode_chunk,
    encode_informational,
    encode_trailers,
)

cdef int FRAMING_CHUNKED, FRAMING_CLOSE, FRAMING_LENGTH, FRAMING_NONE
cdef Py_ssize_t COPY_LIMIT
cdef bytes CLOSE_LINE, KEEP_ALIVE_LINE, LAST_CHUNK

cdef class ResponseWriter:
    cdef public bint keep_alive
    cdef readonly bint is_head_held
    cdef readonly bint is_head_sent
    cdef readonly int status
    cdef public long long body_sent
    cdef readonly list headers
    cdef Output _output
    cdef CommonFields _common
    cdef ResponseEncoder _encoder
    cdef RequestHead _head
    cdef int _framing
    cdef bint _has_no_body
    cdef long long _body_left
    cdef list _trailers

    cpdef begin(self, RequestHead head, bint keep_alive)
    cpdef end(self)
    cpdef start(self, int status, list headers, bint wants_trailers)
    @cython.locals(ends=cython.bint)
    cpdef send_body(self, bytes body, bint is_last)
    cpdef bint start_file(self, long long size, bint is_last) except -1
    cpdef end_file(self, bint is_last)
    @cython.locals(length=cython.longlong, ends=cython.bint)
    cdef _send_head(self, bytes body, long long size, bint is_last)
    cdef bint _is_http_1_1(self) noexcept
    cdef bytes _connection_line(self)
    cdef _count_body(self, long long size, bint is_last)
    cpdef add_trailers(self, list headers)
    cpdef send_trailers(self)
    cpdef send_early_hint(self, list links)
    cpdef send_upgrade(self, list headers)
    cpdef send_text(self, int status, str text, tuple extra=*)
    cpdef bint is_close_delimited(self) noexcept

cpdef long long body_left(long long left, long long size, bint is_last) except? -2
