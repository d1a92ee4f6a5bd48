from asgiserve._speedups.wire cimport CommonFields, parse_content_length

cdef class OwnFields:
    cdef readonly list date
    cdef readonly list server
    cdef readonly list extra
    cdef CommonFields _common
    cdef object _lines

    cpdef refresh(self)

cdef list _split(bytes lines)
cpdef tuple response_fields(int status, list headers, OwnFields own)
cpdef list informational_fields(int status, list headers)
cpdef list trailer_fields(list headers)
cpdef tuple check_field(field)
cdef bytes _to_bytes(item)
