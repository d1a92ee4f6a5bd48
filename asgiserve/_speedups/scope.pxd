from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.scopedict cimport make_scope

cdef class Paths:
    cdef readonly str root_path
    cdef readonly bytes raw
    cdef readonly str path

    cpdef take(self, bytes raw)

cdef class ConnectionScope:
    cdef readonly str http_version
    cdef readonly str scheme
    cdef readonly object client
    cdef readonly object server
    cdef readonly tuple extensions

cpdef to_address(address, bint is_server)
cpdef dict http_scope(RequestHead head, ConnectionScope connection, Paths paths, dict state)
cpdef dict websocket_scope(RequestHead head, ConnectionScope connection, Paths paths, dict state, list subprotocols)
cpdef str full_path(bytes raw_path, str root_path)
cpdef bytes unquote(bytes text)
