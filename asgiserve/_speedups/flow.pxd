cdef class Waiters:
    cdef object _loop
    cdef list _futures

    cpdef add(self)
    cpdef bint wake(self) except -1

cdef class Step:
    cpdef send(self, value)

cdef class Ready(Step):
    pass

