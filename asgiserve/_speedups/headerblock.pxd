cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

# An entry in the table of a decoder.
cdef struct Known:
    PyObject *field
    Py_ssize_t size

# An entry in the table of an encoder.
cdef struct Sent:
    PyObject *name
    PyObject *value
    uint32_t name_hash
    uint32_t hash
    uint32_t older
    uint32_t size

@cython.final
cdef class BlockDecoder:
    cdef Py_ssize_t _max_size
    cdef Py_ssize_t _limit
    cdef Py_ssize_t _used
    cdef Known *_entries
    cdef uint32_t _room
    cdef uint32_t _count
    cdef uint32_t _added

    cpdef list decode(self, bytes block)

@cython.final
cdef class BlockEncoder:
    cdef Py_ssize_t _limit
    cdef Py_ssize_t _used
    cdef int _smallest
    cdef int _last
    cdef Sent *_entries
    cdef uint32_t *_newest
    cdef uint32_t _room
    cdef uint32_t _count
    cdef uint32_t _added

    cpdef set_table_size(self, int size)
    cpdef bytes encode(self, list fields)
