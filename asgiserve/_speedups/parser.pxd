from asgiserve._speedups.head cimport RequestHead

cdef class HeadParser:
    cpdef Py_ssize_t parse(self, bytes data, Py_ssize_t start, RequestHead head, bint checked) except -1
