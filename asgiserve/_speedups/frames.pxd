cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from asgiserve._speedups.deflate cimport Deflate, DeflateParameters

@cython.final
cdef class FrameCodec:
    cdef readonly object payload
    cdef readonly int code
    cdef readonly str reason
    cdef readonly bint is_compressing
    cdef long long _max_size
    cdef Deflate _deflate
    cdef bytes _data
    cdef const unsigned char *_at
    cdef const unsigned char *_end
    cdef list _queue
    cdef Py_ssize_t _queue_size
    cdef bint _is_over
    cdef int _opcode
    cdef bint _is_compressed
    cdef bint _is_last
    cdef bint _is_in_frame
    cdef long long _left
    cdef long long _received
    cdef uint64_t _mask
    cdef PyObject *_message
    cdef Py_ssize_t _size
    cdef Py_ssize_t _room
    cdef Py_ssize_t _checked
    cdef uint64_t _seen

    cpdef feed(self, bytes data)
    cpdef int next_event(self) except -1
    cpdef Py_ssize_t input_size(self) noexcept
    cpdef bytes encode_text(self, object text)
    cpdef bytes encode_binary(self, object data)
    cpdef bytes encode_head(self, int opcode, long long size)
    cpdef bytes encode_ping(self, bytes payload)
    cpdef bytes encode_pong(self, bytes payload)
    cpdef bytes encode_close(self, int code, str reason)
    cdef int _read_frame(self) except -1
    cdef int _take_text(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _take_bytes(self, int opcode, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _take_close(self, bytes payload) except -1
    cdef int _take_part(self) except -1
    cdef int _inflate(self, Py_ssize_t size) except -1
    cdef int _finish(self) except -1
    cdef int _reserve(self, Py_ssize_t size, long long expected) except -1
    cdef int _join(self) except -1
    cdef int _fail(self, int code, str detail) except -1
    cdef _forget(self)
    cdef _stop(self)
    cdef bytes _deflated(self, int opcode, bytes data)
