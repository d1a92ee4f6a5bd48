cimport cython

from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.spare cimport Spare

cdef dict _ASGI
cdef Py_ssize_t MAX_KEPT_PATH
cdef Announcement _EXTENSIONS, _EXTENSIONS_WITH_SENDFILE

cdef class Announcement:
    cdef tuple _names
    cdef Spare _extensions
    cdef list _details

    @cython.locals(spare_detail=Spare)
    cpdef dict make(self)
    @cython.locals(spare=Spare)
    cdef bint _is_free(self) except -1

cpdef dict connection_scope(str scheme, object client, object server, str root_path, dict last)
@cython.locals(raw_path=bytes)
cpdef dict http_scope(RequestHead head, dict common, str root_path, dict state)
cpdef dict websocket_scope(RequestHead head, dict common, str root_path, dict state, list subprotocols)
cpdef str full_path(bytes raw_path, str root_path)
cpdef bytes unquote(bytes text)
