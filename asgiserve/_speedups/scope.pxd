from asgiserve._speedups.head cimport RequestHead

cdef dict _ASGI

cpdef dict connection_scope(str scheme, object client, object server, str root_path)
cpdef dict http_scope(RequestHead head, dict common, str root_path, dict state)
cpdef dict websocket_scope(RequestHead head, dict common, str root_path, dict state, list subprotocols)
cpdef str full_path(bytes raw_path, str root_path)
cpdef bytes unquote(bytes text)
