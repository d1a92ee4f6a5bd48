from asgiserve._speedups.head cimport RequestHead

cdef class HeadParser:
    cpdef Py_ssize_t parse(self, bytes data, Py_ssize_t start, RequestHead head, bint checked) except -1

cpdef bint is_target(bytes text) except -1
cpdef bint is_lower_name(bytes text) except -1
cpdef bint is_stripped_value(bytes text) except -1
