"""HeadParser over llhttp: the compiled twin of `_core/parser.py`.

llhttp sees whole heads only, and its callbacks only note where in the input a part stands; the Python objects are made
afterwards, from a head that is known to be well formed. So no call depends on an earlier one, and one C parser serves
all connections of a process: parse() neither releases the GIL nor calls back into Python while llhttp runs.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp, memcpy

from asgiserve._speedups.cllhttp cimport (
    HPE_PAUSED_UPGRADE,
    HTTP_CONNECT,
    HTTP_REQUEST,
    LLHTTP_VERSION_MAJOR,
    LLHTTP_VERSION_MINOR,
    LLHTTP_VERSION_PATCH,
    llhttp_execute,
    llhttp_init,
    llhttp_method_name,
    llhttp_method_t,
    llhttp_settings_init,
    llhttp_settings_t,
    llhttp_t,
)
from asgiserve._speedups.head cimport RequestHead
from asgiserve._speedups.rules cimport set_target

from .._consts import COMMON_FIELDS, METHODS, NOTED_FIELDS, REPEATED_FIELDS

PARSER_VERSION = f"llhttp {LLHTTP_VERSION_MAJOR}.{LLHTTP_VERSION_MINOR}.{LLHTTP_VERSION_PATCH}"


# -- what the callbacks note

cdef struct Field:
    const char *name
    Py_ssize_t name_size
    const char *value
    Py_ssize_t value_size

cdef Field *_fields = NULL
cdef Py_ssize_t _fields_room = 0
cdef Py_ssize_t _fields_count = 0
cdef const char *_url = NULL
cdef Py_ssize_t _url_size = 0

cdef llhttp_settings_t _settings
cdef llhttp_t _parser


cdef int _on_url(llhttp_t *parser, const char *at, size_t length) noexcept nogil:
    global _url, _url_size
    _url = at
    _url_size = <Py_ssize_t>length
    return 0


cdef int _on_header_field(llhttp_t *parser, const char *at, size_t length) noexcept nogil:
    global _fields, _fields_room, _fields_count
    cdef Field *grown
    cdef Py_ssize_t room
    if _fields_count == _fields_room:
        room = _fields_room * 2 if _fields_room else 64
        grown = <Field *>realloc(_fields, room * sizeof(Field))
        if grown is NULL:
            return -1
        _fields = grown
        _fields_room = room
    _fields[_fields_count].name = at
    _fields[_fields_count].name_size = <Py_ssize_t>length
    _fields[_fields_count].value = at
    _fields[_fields_count].value_size = 0
    _fields_count += 1
    return 0


cdef int _on_header_value(llhttp_t *parser, const char *at, size_t length) noexcept nogil:
    cdef Field *field
    # An empty value ends in a span of no bytes, or in none.
    if length and _fields_count:
        field = &_fields[_fields_count - 1]
        if field.value_size:
            field.value_size = <Py_ssize_t>(at - field.value) + <Py_ssize_t>length
        else:
            field.value = at
            field.value_size = <Py_ssize_t>length
    return 0


cdef int _on_headers_complete(llhttp_t *parser) noexcept nogil:
    return 2  # stop here, whatever follows: bodies are decoded by `reader`


# -- tables, made once

#: Lower-case form of the characters of a token (RFC 9110 section 5.6.2); 0 for all others.
cdef unsigned char _lower[256]
#: Whether a character may stand in an origin-form target: visible US-ASCII without `#`.
cdef unsigned char _in_target[256]
#: Whether a character may stand in a field value.
cdef unsigned char _in_value[256]

cdef enum:
    MAX_NAME = 64
    TABLE_SIZE = 512
    PAIRS_SIZE = 512
    MAX_SHARED_VALUE = 256

#: Common names: an open hash table of borrowed references into _names, which lives as long as the module.
cdef struct Name:
    const char *text
    Py_ssize_t size
    int field
    bint is_repeated
    void *name

cdef Name _table[TABLE_SIZE]
cdef list _names = []
cdef list _methods = []

#: The last (name, value) pair of a repeated field for each hash: most requests bring what an earlier one brought.
cdef list _pairs = [None] * PAIRS_SIZE


cdef inline unsigned int _hash(const unsigned char *text, Py_ssize_t size) noexcept:
    # Length, ends and middle tell the common names apart well enough.
    return (
        <unsigned int>size * 131 + text[0] * 31 + text[size - 1] * 17 + text[size >> 1] * 7
    ) & (TABLE_SIZE - 1)


cdef _make_tables():
    cdef int code
    cdef unsigned int slot
    cdef bytes name
    for code in range(256):
        _lower[code] = 0
        _in_target[code] = 0x21 <= code <= 0x7e and code != 0x23
        _in_value[code] = code == 0x09 or (code >= 0x20 and code != 0x7f)
    for code in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz":
        _lower[code] = code
    for code in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        _lower[code] = code + 32
    for item in COMMON_FIELDS:
        name = item
        _names.append(name)
        slot = _hash(<const unsigned char *>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        while _table[slot].text is not NULL:
            slot = (slot + 1) & (TABLE_SIZE - 1)
        _table[slot].text = PyBytes_AS_STRING(name)
        _table[slot].size = PyBytes_GET_SIZE(name)
        _table[slot].field = NOTED_FIELDS.get(name, 0)
        _table[slot].is_repeated = name in REPEATED_FIELDS
        _table[slot].name = <void *>name
    for code in range(47):
        text = llhttp_method_name(<llhttp_method_t>code).decode()
        _methods.append(METHODS[METHODS.index(text)] if text in METHODS else None)
    llhttp_settings_init(&_settings)
    _settings.on_url = _on_url
    _settings.on_header_field = _on_header_field
    _settings.on_header_value = _on_header_value
    _settings.on_headers_complete = _on_headers_complete

_make_tables()


# -- the parser

cdef class HeadParser:
    """Parses heads; keeps nothing from one to the next."""

    cpdef Py_ssize_t parse(self, bytes data, Py_ssize_t start, RequestHead head, bint checked) except -1:
        """Parse the head that begins at `start` and fill `head`.

        Args:
            checked: whether the lines have passed the rules. If not, only an ordinary head (a served method, an
                origin-form target, every line well formed) is parsed.
        Returns:
            the offset behind the head; 0 when it is incomplete, or anything is wrong with it or unusual about it.
        """
        global _fields_count, _url, _url_size
        cdef const char *text = PyBytes_AS_STRING(data)
        cdef const char *begin = text + start
        cdef Py_ssize_t index
        cdef str method
        cdef list headers
        cdef tuple pair
        _fields_count = 0
        _url = NULL
        _url_size = 0
        llhttp_init(&_parser, HTTP_REQUEST, &_settings)
        if llhttp_execute(&_parser, begin, PyBytes_GET_SIZE(data) - start) != HPE_PAUSED_UPGRADE:
            return 0
        if _url is NULL or _parser.http_major != 1 or _parser.http_minor > 1 or _parser.method >= 47:
            return 0
        method = _methods[_parser.method]
        if method is None:
            return 0
        if checked:
            set_target(head, PyBytes_FromStringAndSize(_url, _url_size))
        elif not _take_origin_form(begin, method, head):
            return 0
        head.method = method
        head.minor_version = _parser.http_minor
        headers = PyList_New(_fields_count)
        for index in range(_fields_count):
            pair = _take_field(&_fields[index], head)
            if pair is None:
                return 0
            Py_INCREF(pair)
            PyList_SET_ITEM(headers, index, pair)
        head.headers = headers
        return _parser.error_pos - text


cdef bint _take_origin_form(const char *begin, str method, RequestHead head) except -1:
    """Take an origin-form target, if the request line is made of just method, target and version with one space between them."""
    cdef Py_ssize_t method_size = len(method)
    cdef const char *version = _url + _url_size
    cdef const char *query = NULL
    cdef const char *at
    if _url != begin + method_size + 1 or _url[0] != b"/" or _parser.method == HTTP_CONNECT:
        return False
    if memcmp(version, b" HTTP/1.", 8) != 0 or version[9] != b"\r" or version[10] != b"\n":
        return False
    at = _url
    while at < version:
        if not _in_target[<unsigned char>at[0]]:
            return False
        if at[0] == b"?":
            query = at + 1
            break
        at += 1
    head.raw_path = PyBytes_FromStringAndSize(_url, at - _url)
    if query is NULL:
        return True
    at = query
    while at < version:
        if not _in_target[<unsigned char>at[0]]:
            return False
        at += 1
    head.query = PyBytes_FromStringAndSize(query, version - query)
    return True


cdef inline unsigned int _hash_value(const char *value, Py_ssize_t size, unsigned int seed) noexcept:
    """A hash over the length and the ends; it only has to spread, because a hit is compared in full."""
    cdef uint64_t first = 0
    cdef uint64_t last = 0
    if size >= 8:
        memcpy(&first, value, 8)
        memcpy(&last, value + size - 8, 8)
    else:
        memcpy(&first, value, size)
    first = (first ^ (last * 0x9E3779B97F4A7C15ULL) ^ <uint64_t>size ^ (<uint64_t>seed << 32)) * 0xD6E8FEB86659FD93ULL
    return <unsigned int>(first >> 40) & (PAIRS_SIZE - 1)


cdef tuple _shared_pair(bytes name, unsigned int slot, const char *value, Py_ssize_t size):
    """Return (name, value), the one made for an earlier request where that is the same."""
    cdef unsigned int at = _hash_value(value, size, slot)
    cdef tuple pair = <tuple>_pairs[at]
    cdef bytes known
    if pair is not None and pair[0] is name:
        known = <bytes>pair[1]
        if PyBytes_GET_SIZE(known) == size and memcmp(PyBytes_AS_STRING(known), value, size) == 0:
            return pair
    pair = (name, PyBytes_FromStringAndSize(value, size))
    _pairs[at] = pair
    return pair


cdef tuple _take_field(Field *field, RequestHead head):
    """Return one field as (name, value) and note it where it counts; None when its name is no token."""
    cdef unsigned char lower[MAX_NAME]
    cdef const char *value = field.value
    cdef Py_ssize_t size = field.name_size
    cdef Py_ssize_t value_size = field.value_size
    cdef Py_ssize_t index
    cdef unsigned int slot
    cdef int noted = 0
    cdef bytes name = None
    cdef bint is_repeated = False
    cdef tuple pair
    while value_size and (value[0] == b" " or value[0] == b"\t"):
        value += 1
        value_size -= 1
    while value_size and (value[value_size - 1] == b" " or value[value_size - 1] == b"\t"):
        value_size -= 1
    if size == 0:
        return None
    if size <= MAX_NAME:
        for index in range(size):
            lower[index] = _lower[<unsigned char>field.name[index]]
            if lower[index] == 0:
                return None
        slot = _hash(lower, size)
        while _table[slot].text is not NULL:
            if _table[slot].size == size and memcmp(_table[slot].text, lower, size) == 0:
                name = <bytes>_table[slot].name
                noted = _table[slot].field
                is_repeated = _table[slot].is_repeated
                break
            slot = (slot + 1) & (TABLE_SIZE - 1)
        if name is None:
            name = PyBytes_FromStringAndSize(<const char *>lower, size)
    else:
        for index in range(size):
            if _lower[<unsigned char>field.name[index]] == 0:
                return None
        name = PyBytes_FromStringAndSize(field.name, size).lower()
    if is_repeated and value_size <= MAX_SHARED_VALUE:
        pair = _shared_pair(name, slot, value, value_size)
    else:
        pair = (name, PyBytes_FromStringAndSize(value, value_size))
    if noted:
        head.note(noted, <bytes>pair[1])
    return pair


cpdef bint is_target(bytes text) except -1:
    """Whether these may be the characters of a request target without a fragment, and there is one."""
    return PyBytes_GET_SIZE(text) != 0 and _is_made_of(text, _in_target)


cpdef bint is_lower_name(bytes text) except -1:
    """Whether this is a field name (a token, RFC 9110 section 5.6.2) without capital letters."""
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(text)
    cdef const unsigned char *end = at + PyBytes_GET_SIZE(text)
    if at == end:
        return False
    while at < end:
        if at[0] == 0 or _lower[at[0]] != at[0]:
            return False
        at += 1
    return True


cpdef bint is_stripped_value(bytes text) except -1:
    """Whether this may be a field value: no control character but the tab, and no white space at either end."""
    cdef const unsigned char *begin = <const unsigned char *>PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    if size and (begin[0] == b" " or begin[0] == b"\t" or begin[size - 1] == b" " or begin[size - 1] == b"\t"):
        return False
    return _is_made_of(text, _in_value)


cdef inline bint _is_made_of(bytes text, const unsigned char *table) noexcept:
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(text)
    cdef const unsigned char *end = at + PyBytes_GET_SIZE(text)
    while at < end:
        if not table[at[0]]:
            return False
        at += 1
    return True
