import cython

cdef list _BOUNDS

cdef class Figures:
    cdef readonly list responses
    cdef readonly list latency
    cdef readonly double latency_sum

    @cython.locals(index=cython.Py_ssize_t)
    cpdef count_response(self, int status)

    @cython.locals(bound=cython.double, bucket=cython.Py_ssize_t)
    cpdef count_request(self, int status, double duration)
