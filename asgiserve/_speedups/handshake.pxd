from asgiserve._speedups.deflate cimport DeflateParameters, negotiate
from asgiserve._speedups.head cimport RequestHead

cdef bytes _GUID
cdef tuple _VERSION_FIELDS

cdef class Handshake:
    cdef readonly bytes accept
    cdef readonly list subprotocols
    cdef readonly DeflateParameters deflate

cpdef Handshake check_handshake(RequestHead head, bint allow_deflate)
cpdef bytes make_accept(bytes key)
cdef _check_version(list versions)
cdef bytes _check_key(list keys)
cdef list _split_subprotocols(list values)
