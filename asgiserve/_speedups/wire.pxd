cdef class CommonFields:
    cdef public bytes date
    cdef public bytes server
    cdef public bytes extra
    cdef public bytes lines
    cpdef set_date(self, bytes date)

cdef class ResponseEncoder:
    cdef readonly long long content_length
    cdef readonly bint close
    cdef char *_data
    cdef Py_ssize_t _size
    cdef Py_ssize_t _room
    cpdef start(self, int status, object headers, CommonFields common)
    cpdef bytes finish(self, int framing, long long length, bytes connection, bytes body)
    cdef int _reserve(self, Py_ssize_t size) except -1
    cdef int _put(self, bytes data) except -1
    cdef int _put_field(self, bytes name, bytes value) except -1
    cdef int _set_content_length(self, bytes value) except -1

cpdef long long parse_content_length(bytes value) noexcept
cpdef bint has_close(bytes value) except -1
cpdef bytes find_field(object headers, bytes name, bint joins)
cpdef bytes encode_chunk(bytes body, bint last)
cpdef bytes encode_trailers(object headers)
cpdef bytes encode_informational(int status, object headers)
cpdef tuple check_field(object field)
cpdef bytes encode_frame(int kind, int flags, long long stream_id, bytes content, Py_ssize_t start=*, Py_ssize_t end=*)
