cimport cython

cdef class Source:
    cpdef dict give_message(self)
    cpdef wait(self)

@cython.final
cdef class Received:
    cdef Source _source

    cpdef send(self, value)

cpdef Received receive_from(Source source)
