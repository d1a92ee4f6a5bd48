cimport cython

from asgiserve._speedups.block cimport Block
from asgiserve._speedups.transport cimport Transport

cdef Py_ssize_t MIN_READ, MAX_READ

cdef class Intake:
    cdef object _connection
    cdef object _transport
    cdef Block _block
    cdef Py_ssize_t _size
    cdef long long _left
    cdef bint _is_active

    cpdef begin(self)
    cdef _switch(self, protocol)
    cpdef get_buffer(self, Py_ssize_t size_hint)
    @cython.locals(left=cython.longlong)
    cpdef buffer_updated(self, Py_ssize_t size)

cpdef bint reads_with_a_copy(transport) except -1
