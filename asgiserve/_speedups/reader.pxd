cimport cython

from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.parser cimport HeadParser
from asgiserve._speedups.rules cimport check_field_line, check_head, check_request_line, split_head
from asgiserve._speedups.spare cimport Spare

cdef int BODY, BODY_END, END, NEED_DATA, REQUEST, REQUEST_END
cdef int HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, TRAILERS, COMPLETE
cdef RequestHead NO_HEAD
cdef Spare _spare_head
cdef HeadParser _PARSER

cdef class Limits:
    cdef public Py_ssize_t request_line
    cdef public Py_ssize_t header_size
    cdef public Py_ssize_t header_fields
    cdef public long long body

cdef class RequestReader:
    cdef readonly RequestHead head
    cdef readonly bytes chunk
    cdef Limits _limits
    cdef bytes _buffer
    cdef Py_ssize_t _pos
    cdef int _state
    cdef long long _remaining
    cdef long long _body_size
    cdef Py_ssize_t _line
    cdef Py_ssize_t _searched
    cdef Py_ssize_t _lines
    cdef Py_ssize_t _section
    cdef int _skipped
    cdef object _fault

    cpdef feed(self, bytes data)
    cpdef Py_ssize_t input_size(self) noexcept
    cpdef bint has_input(self) noexcept
    cpdef bint is_complete(self) noexcept
    cpdef bint is_idle(self) noexcept
    cpdef long long body_left(self) noexcept
    cpdef next_message(self)
    cpdef drop_input(self)
    cpdef tuple known_line(self)
    cpdef bytes take_tail(self)
    cpdef int next_event(self) except -1
    cdef int _read_head(self) except -1
    @cython.locals(size=cython.Py_ssize_t)
    cdef bint _is_within_limits(self, RequestHead head, Py_ssize_t end) except -1
    cdef _refuse_head(self, Py_ssize_t end)
    cdef _reset_scan(self)
    cdef Py_ssize_t _scan_head(self) except -1
    cdef _skip_empty_line(self)
    cdef bytes _next_line(self, bint is_request_line)
    @cython.locals(available=cython.Py_ssize_t)
    cdef int _read_length(self) except -1
    cdef _take(self, Py_ssize_t size)
    cdef int _read_chunked(self) except -1
    cdef bint _read_chunk_part(self, list parts) except -1
    @cython.locals(size=cython.longlong)
    cdef _read_chunk_data(self, list parts)
    cdef bint _read_chunk_size(self) except -1
    cdef _start_chunk(self, object size)
    cdef bint _read_chunk_data_end(self) except -1
    cdef bint _read_trailers(self) except -1

@cython.locals(spare=RequestHead, head=RequestHead)
cdef RequestHead _new_head()
