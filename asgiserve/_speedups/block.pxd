from cpython.object cimport PyObject

cdef class Block:
    cdef PyObject *_data

    cpdef view(self, Py_ssize_t size)
    cpdef bytes take(self, Py_ssize_t size)
