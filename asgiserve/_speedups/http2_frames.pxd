cimport cython

cdef int ENHANCE_YOUR_CALM, FLAG_ACK, FLAG_END_HEADERS, FRAME_CONTINUATION, FRAME_HEADERS, FRAME_LIMIT
cdef int FRAME_SETTINGS, FRAME_SIZE_ERROR, FRAME_HEAD_SIZE, MAX_CONTINUATIONS, PROTOCOL_ERROR
cdef class FrameSplitter:
    cdef readonly int kind
    cdef readonly int flags
    cdef readonly long long stream_id
    cdef readonly Py_ssize_t size
    cdef readonly bytes content
    cdef readonly bint is_in_block
    cdef bytes _buffer
    cdef Py_ssize_t _pos
    cdef bint _is_preface_due
    cdef bint _is_settings_due
    cdef bint _is_head_read
    cdef Py_ssize_t _block_limit
    cdef long long _block_stream
    cdef Py_ssize_t _block_size
    cdef Py_ssize_t _block_frames

    cpdef feed(self, bytes data)
    cpdef drop_input(self)
    cpdef bint next_frame(self) except -1
    cdef bint _take_preface(self) except -1
    @cython.locals(buffer=bytes, at=cython.Py_ssize_t, size=cython.Py_ssize_t, number=cython.longlong)
    cdef int _read_head(self) except -1
    cdef int _extend_block(self, Py_ssize_t size) except -1
