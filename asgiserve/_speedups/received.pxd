from asgiserve._speedups.flow cimport Step

cdef class Source:
    cpdef dict give_message(self)
    cpdef wait(self)

cdef class Received(Step):
    cdef Source _source

    cpdef send(self, value)
