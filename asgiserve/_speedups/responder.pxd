cdef class Responder:
    cdef public object loop

    cpdef body_taken(self)
    cpdef send_continue(self)
    cpdef send_early_hint(self, list links)
    cpdef start_response(self, int status, list headers, bint wants_trailers)
    cpdef send_body(self, bytes body, bint is_last)
    cpdef add_trailers(self, list headers)
    cpdef send_trailers(self)
    cpdef response_complete(self)
    cpdef fail(self, int status)
    cpdef cut(self)
