from asgiserve._speedups.head cimport RequestHead

cdef dict _ASGI, _SCOPE

cpdef dict http_scope(RequestHead head, str scheme, object client, object server, str root_path, dict state)
