cimport cython

@cython.final
cdef class TextBuffer:
    cdef char *_data
    cdef Py_ssize_t _size
    cdef Py_ssize_t _room
    cdef bint _is_ascii

    cpdef int add(self, str text) except -1
    cpdef int add_before(self, str text, Py_UCS4 mark) except -1
    cpdef int add_number(self, long long number, int width) except -1
    cpdef int add_decimal(self, double number) except -1
    cpdef int add_json(self, str text) except -1
    cpdef bint add_plain(self, str text) except -1
    cpdef str take(self)
    cdef int _grow(self, Py_ssize_t size) except -1
    cdef int _put_wide(self, str text) except -1
