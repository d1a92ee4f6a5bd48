from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.scope cimport ConnectionScope, to_address

cdef class Peer:
    cdef readonly str scheme
    cdef object _client
    cdef object _server
    cdef dict _tls
    cdef str _name

    cdef ConnectionScope make_scope(self, str http_version, ConnectionScope last)
    cdef str complete(self, dict scope, RequestHead head, object forwarding)
    cpdef str name(self)
    cpdef str label(self)
    cdef trace(self, message)
