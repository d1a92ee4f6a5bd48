from asgiserve._speedups.calls cimport bind
from asgiserve._speedups.flow cimport Waiters
from asgiserve._speedups.launch cimport exception_of
from asgiserve._speedups.received cimport Source, receive_from
from asgiserve._speedups.spare cimport Spare

cdef object CancelledError, _RECEIVE, _SEND

cdef class Exchange(Source):
    cdef public object loop
    cdef public object task
    cdef readonly Waiters waiters

    cpdef judge(self, task)
    cpdef take_message(self, dict message)
    cpdef app_ended(self, error, bint cancelled)
    cpdef let_go(self)

cdef class SpareExchange:
    cdef Spare _exchange
    cdef Spare _receive
    cdef Spare _send

    cpdef take(self)
    cpdef keep(self, Exchange exchange)
    cpdef receive_of(self, Exchange exchange)
    cpdef send_of(self, Exchange exchange)

cpdef bint is_disconnect(error) except -1
cpdef list to_list(items)
cpdef bytes to_bytes(data, str name)
cpdef int to_status(status, str kind) except -1
