from asgiserve._speedups.flow cimport Step, Waiters

cdef object CancelledError

cdef class Exchange:
    cdef public object loop
    cdef public object task
    cdef readonly Waiters waiters

    cpdef wait(self)
    cpdef judge(self, task)
    cpdef dict give_message(self)
    cpdef take_message(self, dict message)
    cpdef app_ended(self, error, bint cancelled)

cdef class Received(Step):
    cdef Exchange _exchange

cpdef bint is_disconnect(error) except -1
cpdef list to_list(items)
cpdef bytes to_bytes(data, str name)
cpdef int to_status(status, str kind) except -1
