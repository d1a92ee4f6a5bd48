# cython: cdivision=True
"""BlockDecoder and BlockEncoder: header compression. The compiled twin of `_core/headerblock.py`.

A twin because hpack is Python throughout, and most of what HTTP/2 costs. Here the tables hold what is handed out: a
field that stands in one of them costs a reference.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from .._consts import COMMON_FIELDS, COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from ..errors import ConnectionFault

cdef extern from "Python.h":
    # With plain pointers: where these are used, references are counted by hand, or somebody else has one.
    bint PyBytes_CheckExact(PyObject *data) noexcept
    bint PyTuple_CheckExact(PyObject *field) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject *data) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *field) noexcept
    Py_ssize_t PyList_GET_SIZE(PyObject *fields) noexcept
    PyObject *PyTuple_GET_ITEM(PyObject *field, Py_ssize_t at) noexcept
    PyObject *PyList_GET_ITEM(PyObject *fields, Py_ssize_t at) noexcept
    void PyList_SET_ITEM(PyObject *fields, Py_ssize_t at, PyObject *field) noexcept
    list PyList_New(Py_ssize_t size)
    Py_hash_t PyObject_Hash(PyObject *data) noexcept  # of bytes, which have one
    unsigned char *_bytes_of "(unsigned char *)PyBytes_AS_STRING"(PyObject *data) noexcept
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1
    PyObject *_new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    void Py_INCREF(PyObject *item) noexcept
    void Py_DECREF(PyObject *item) noexcept

cdef extern from *:
    """
    #include <stdint.h>

    #define HUFFMAN_SYMBOLS 257 /* the last one is EOS */
    #define HUFFMAN_LONGEST 30

    /* Bits of the code of each symbol (RFC 7541 appendix B). The code is canonical: symbols of the same length have
       successive codes in their order, so that the lengths say all. */
    static const unsigned char huffman_bits[HUFFMAN_SYMBOLS] = {
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
        28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
        7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
        23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
        21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
    };

    static uint32_t huffman_codes[HUFFMAN_SYMBOLS];
    /* By eight inverted bits: a symbol with a code of no more bits than that, and in the upper byte how many; or 0. */
    static uint16_t huffman_short[256];
    /* The others. All symbols by their codes; for each length, which is the first, its code in the top of 32 bits, and
       the code behind the last one, likewise. */
    static uint16_t huffman_order[HUFFMAN_SYMBOLS];
    static uint16_t huffman_first[HUFFMAN_LONGEST + 1];
    static uint32_t huffman_begin[HUFFMAN_LONGEST + 1];
    static uint64_t huffman_end[HUFFMAN_LONGEST + 1];

    static void huffman_prepare(void) {
        uint32_t code = 0, at;
        int bits, symbol, place = 0;
        for (bits = 1; bits <= HUFFMAN_LONGEST; bits++) {
            code <<= 1;
            huffman_first[bits] = (uint16_t)place;
            huffman_begin[bits] = code << (32 - bits);
            for (symbol = 0; symbol < HUFFMAN_SYMBOLS; symbol++) {
                if (huffman_bits[symbol] != bits)
                    continue;
                huffman_codes[symbol] = code;
                huffman_order[place++] = (uint16_t)symbol;
                if (bits <= 8)
                    for (at = code << (8 - bits); at < (code + 1) << (8 - bits); at++)
                        huffman_short[at ^ 0xff] = (uint16_t)(bits << 8 | symbol);
                code++;
            }
            huffman_end[bits] = (uint64_t)code << (32 - bits);
        }
    }

    /* Decode what has the whole input. Returns the number of bytes, at most 8/5 of the input's; -1 when it is invalid
       (RFC 7541 section 5.2): EOS is in it, or what is left at the end is no padding of ones, or more than 7 bits. */
    static Py_ssize_t huffman_decode(const unsigned char *data, Py_ssize_t size, unsigned char *to) {
        const unsigned char *end = data + size, *begin = to;
        /* The bits in hand, from the top; inverted, so that all that follow the last one are ones. */
        uint64_t hand = 0, word;
        uint32_t code;
        unsigned count = 0, entry, bits, symbol;
        for (;;) {
            if (count < 32) {
                if (end - data >= 8) {
                    word = (uint64_t)data[0] << 56 | (uint64_t)data[1] << 48 | (uint64_t)data[2] << 40
                         | (uint64_t)data[3] << 32 | (uint64_t)data[4] << 24 | (uint64_t)data[5] << 16
                         | (uint64_t)data[6] << 8 | data[7];
                    /* The bits of a byte that fits in part are not counted; they come again. */
                    hand |= ~word >> count;
                    data += (63 - count) >> 3;
                    count |= 56;
                } else {
                    while (count <= 56 && data < end) {
                        hand |= (uint64_t)(*data++ ^ 0xff) << (56 - count);
                        count += 8;
                    }
                }
            }
            entry = huffman_short[hand >> 56];
            if (entry) {
                bits = entry >> 8;
                symbol = entry & 0xff;
            } else {
                code = ~(uint32_t)(hand >> 32);
                bits = 9;
                while (code >= huffman_end[bits])
                    bits++;
                symbol = huffman_order[huffman_first[bits] + ((code - huffman_begin[bits]) >> (32 - bits))];
            }
            if (bits > count)
                break;
            if (symbol == HUFFMAN_SYMBOLS - 1)
                return -1;
            *to++ = (unsigned char)symbol;
            hand <<= bits;
            count -= bits;
        }
        return count > 7 || hand ? -1 : to - begin;
    }

    /* How many bytes the code of these takes. */
    static Py_ssize_t huffman_size(const unsigned char *data, Py_ssize_t size) {
        const unsigned char *end = data + size;
        uint64_t bits = 0;
        while (data < end)
            bits += huffman_bits[*data++];
        return (Py_ssize_t)((bits + 7) >> 3);
    }

    static void huffman_encode(const unsigned char *data, Py_ssize_t size, unsigned char *to) {
        const unsigned char *end = data + size;
        uint64_t hand = 0;
        uint32_t word;
        unsigned count = 0;
        for (; data < end; data++) {
            hand = hand << huffman_bits[*data] | huffman_codes[*data];
            count += huffman_bits[*data];
            if (count >= 32) {
                count -= 32;
                word = (uint32_t)(hand >> count);
                to[0] = (unsigned char)(word >> 24);
                to[1] = (unsigned char)(word >> 16);
                to[2] = (unsigned char)(word >> 8);
                to[3] = (unsigned char)word;
                to += 4;
            }
        }
        for (; count >= 8; *to++ = (unsigned char)(hand >> count))
            count -= 8;
        if (count)
            *to = (unsigned char)(hand << (8 - count) | 0xff >> count);
    }
    """
    void huffman_prepare() noexcept
    Py_ssize_t huffman_decode(const unsigned char *data, Py_ssize_t size, unsigned char *to) noexcept
    Py_ssize_t huffman_size(const unsigned char *data, Py_ssize_t size) noexcept
    void huffman_encode(const unsigned char *data, Py_ssize_t size, unsigned char *to) noexcept

cdef enum:
    TABLE_SIZE = 4096  # bytes of a dynamic table, for either direction: what a peer has without saying more
    FIELD_SIZE = 32  # bytes that a field counts beside its own (RFC 7541 section 4.1)
    ROOM = 16  # entries in a dynamic table at first; there are never more than TABLE_SIZE / FIELD_SIZE
    INTEGER_BYTES = 5  # of an integer behind its prefix; that is enough for 35 bits
    INTEGER_ROOM = 6
    SIZE_UPDATES = 2  # at the beginning of a block (RFC 7541 section 4.2): the smallest, and the last

    STATIC_SIZE = 61
    SET_COOKIE = 55
    NAMES_SIZE = 512  # of the hash table of shared names, well above their number
    STATIC_NAMES_SIZE = 128
    BUCKETS = 64  # of the hash table over an encoder's dynamic table

    FOUND_ROOM = 64  # fields of a block without more memory
    OUTPUT_ROOM = 512  # bytes of a block, likewise
    TEXT_ROOM = 512  # bytes of a decoded string, likewise
    SHORT_CODE = 320  # bytes of Huffman code that are no longer than that when decoded

    # Faults.
    TRUNCATED = 1
    LONG_INTEGER
    INVALID_INDEX
    INVALID_HUFFMAN
    LATE_UPDATE
    MANY_UPDATES
    LARGE_UPDATE
    TOO_LARGE

cdef list _faults = [
    None,
    (COMPRESSION_ERROR, "truncated header block"),
    (COMPRESSION_ERROR, "integer too long in a header block"),
    (COMPRESSION_ERROR, "invalid index in a header block"),
    (COMPRESSION_ERROR, "invalid Huffman code in a header block"),
    (COMPRESSION_ERROR, "update of the header table's size behind a field"),
    (COMPRESSION_ERROR, "too many updates of the header table's size"),
    (COMPRESSION_ERROR, "header table's size above the limit"),
    (ENHANCE_YOUR_CALM, "header section too large"),
]


# -- tables, made once

#: The static table (RFC 7541 appendix A) from 1 on; the fields without a value follow those that have one.
cdef list _fields = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
] + [
    (name, b"")
    for name in (
        b"accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control "
        b"content-disposition content-encoding content-language content-length content-location content-range "
        b"content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range "
        b"if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range "
        b"referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary "
        b"via www-authenticate"
    ).split()
]
#: The same by index, borrowed.
cdef Known _static[STATIC_SIZE + 1]

#: A name in the static table, and the indexes that have it.
cdef struct StaticName:
    PyObject *name
    Py_hash_t hash
    int first
    int last

cdef StaticName _static_names[STATIC_NAMES_SIZE]

#: The names that are handed out as one shared object, and an open hash table of them, borrowed.
cdef list _names = []
cdef PyObject *_shared[NAMES_SIZE]


cdef inline unsigned int _slot(const unsigned char *text, Py_ssize_t size) noexcept:
    # Length, ends and middle tell the common names apart well enough.
    return (
        <unsigned int>size * 131 + text[0] * 31 + text[size - 1] * 17 + text[size >> 1] * 7
    ) & (NAMES_SIZE - 1)


cdef inline bint _is_same(PyObject *one, PyObject *two) noexcept:
    return one == two or (
        PyBytes_GET_SIZE(one) == PyBytes_GET_SIZE(two)
        and memcmp(_bytes_of(one), _bytes_of(two), PyBytes_GET_SIZE(one)) == 0
    )


cdef inline bint _is_text(PyObject *one, const unsigned char *text, Py_ssize_t size) noexcept:
    return PyBytes_GET_SIZE(one) == size and memcmp(_bytes_of(one), text, size) == 0


cdef _share_name(bytes name):
    cdef unsigned char *text = _bytes_of(<PyObject *>name)
    cdef unsigned int slot = _slot(text, len(name))
    while _shared[slot] is not NULL:
        if _is_same(_shared[slot], <PyObject *>name):
            return
        slot = (slot + 1) & (NAMES_SIZE - 1)
    _names.append(name)
    _shared[slot] = <PyObject *>name


cdef _make_tables():
    cdef int index
    cdef StaticName *entry
    huffman_prepare()
    # One object for each name, which is the one of the other tables.
    common = {name: name for name in COMMON_FIELDS}
    for index in range(STATIC_SIZE):
        name, value = _fields[index]
        name = common.setdefault(name, name)
        field = (name, value)
        _fields[index] = field
        _static[index + 1].field = <PyObject *>field
        _static[index + 1].size = len(name) + len(value) + FIELD_SIZE
        entry = _find_static_name(<PyObject *>name)
        if entry.name is NULL:
            entry.name = <PyObject *>name
            entry.hash = hash(name)
            entry.first = index + 1
        entry.last = index + 1
    for name in common:
        _share_name(name)


cdef inline StaticName *_find_static_name(PyObject *name) noexcept:
    """Return the place of a name, which is empty when the name is not in the static table."""
    cdef Py_hash_t hash = PyObject_Hash(name)
    cdef StaticName *entry = &_static_names[hash & (STATIC_NAMES_SIZE - 1)]
    while entry.name is not NULL and not (entry.hash == hash and _is_same(entry.name, name)):
        entry = &_static_names[(entry - _static_names + 1) & (STATIC_NAMES_SIZE - 1)]
    return entry

_make_tables()


# -- the decoder

#: A string as it stands in a block.
cdef struct Text:
    const unsigned char *data
    Py_ssize_t size
    bint is_huffman

#: Fields, each with a reference.
cdef struct Found:
    PyObject **items
    Py_ssize_t count
    Py_ssize_t room
    PyObject *here[FOUND_ROOM]


cdef class BlockDecoder:
    """Decodes the header blocks of one connection, in the order they came. After an error it is not used any more.

    Args:
        max_size: bytes that a decoded header list may have, counted as RFC 7541 section 4.1 does: name, value and 32
            for each field.
    """

    def __init__(self, Py_ssize_t max_size):
        self._max_size = max_size
        self._limit = TABLE_SIZE

    def __dealloc__(self):
        _forget(self, 0)
        free(self._entries)

    cpdef list decode(self, bytes block):
        """Return the (name, value) pairs of a whole block.

        Raises:
            ConnectionFault: COMPRESSION_ERROR, the block is malformed (RFC 7541 sections 2.3.3, 4.2, 5 and 6), or
                ENHANCE_YOUR_CALM, the list is larger than allowed.
        """
        cdef Found found
        cdef Py_ssize_t index
        cdef int fault
        cdef list fields
        cdef const unsigned char *data
        if block is None:
            raise TypeError("a header block is bytes")
        found.items = found.here
        found.count = 0
        found.room = FOUND_ROOM
        try:
            data = _bytes_of(<PyObject *>block)
            fault = _read(self, data, data + PyBytes_GET_SIZE(<PyObject *>block), &found)
            if not fault:
                fields = PyList_New(found.count)
                for index in range(found.count):
                    PyList_SET_ITEM(<PyObject *>fields, index, found.items[index])
                found.count = 0  # the references are the list's now
                return fields
        finally:
            for index in range(found.count):
                Py_DECREF(found.items[index])
            if found.items != found.here:
                free(found.items)
        raise ConnectionFault(*_faults[fault])


cdef int _read(BlockDecoder decoder, const unsigned char *at, const unsigned char *end, Found *found) except -1:
    """Read a block.

    Returns:
        the fault, or 0.
    """
    cdef Py_ssize_t left = decoder._max_size
    cdef int updates = 0
    cdef int fault
    cdef uint64_t number = 0
    cdef const Known *entry
    while at < end:
        if at[0] & 0x80:
            fault = _read_integer(&at, end, 0x7f, &number)
            if fault:
                return fault
            entry = _find(decoder, number)
            if entry is NULL:
                return INVALID_INDEX
            Py_INCREF(entry.field)
            _keep(found, entry.field)
            left -= entry.size
        elif at[0] & 0xe0 == 0x20:
            fault = _read_integer(&at, end, 0x1f, &number)
            if fault:
                return fault
            if found.count:
                return LATE_UPDATE
            updates += 1
            if updates > SIZE_UPDATES:
                return MANY_UPDATES
            if number > TABLE_SIZE:
                return LARGE_UPDATE
            decoder._limit = <Py_ssize_t>number
            _forget(decoder, decoder._limit)
        else:
            fault = _read_literal(decoder, &at, end, found, &left)
            if fault:
                return fault
        if left < 0:
            return TOO_LARGE
    return 0


cdef int _read_literal(
    BlockDecoder decoder, const unsigned char **at, const unsigned char *end, Found *found, Py_ssize_t *left
) except -1:
    cdef bint is_added = at[0][0] & 0x40
    cdef uint64_t number = 0
    cdef Text name_text, value_text
    cdef const Known *entry
    cdef int fault
    cdef object name, value
    cdef tuple field
    cdef Py_ssize_t size
    fault = _read_integer(at, end, 0x3f if is_added else 0x0f, &number)
    if not fault and not number:
        fault = _read_text(at, end, &name_text)
    if not fault:
        fault = _read_text(at, end, &value_text)
    if fault:
        return fault
    if number:
        entry = _find(decoder, number)
        if entry is NULL:
            return INVALID_INDEX
        name = <object>PyTuple_GET_ITEM(entry.field, 0)
    else:
        name = _make_text(&name_text, True)
    value = _make_text(&value_text, False)
    if name is None or value is None:
        return INVALID_HUFFMAN
    field = (name, value)
    size = PyBytes_GET_SIZE(<PyObject *>name) + PyBytes_GET_SIZE(<PyObject *>value) + FIELD_SIZE
    if is_added:
        _remember(decoder, <PyObject *>field, size)
    Py_INCREF(<PyObject *>field)
    _keep(found, <PyObject *>field)
    left[0] -= size
    return 0


cdef inline int _keep(Found *found, PyObject *field) except -1:
    """Add a field, and with it the caller's reference."""
    if found.count == found.room:
        _grow_found(found, field)
    found.items[found.count] = field
    found.count += 1
    return 0


cdef int _grow_found(Found *found, PyObject *field) except -1:
    cdef bint is_here = found.items == found.here
    cdef PyObject **grown = <PyObject **>realloc(NULL if is_here else found.items, found.room * 2 * sizeof(PyObject *))
    if grown is NULL:
        Py_DECREF(field)
        raise MemoryError()
    if is_here:
        memcpy(grown, found.here, sizeof(found.here))
    found.items = grown
    found.room *= 2
    return 0


cdef inline int _read_integer(
    const unsigned char **at, const unsigned char *end, unsigned int mask, uint64_t *number
) noexcept:
    """Read the integer (RFC 7541 section 5.1) whose prefix has these bits. Returns the fault, or 0."""
    if at[0] >= end:
        return TRUNCATED
    number[0] = at[0][0] & mask
    at[0] += 1
    return _read_continuation(at, end, number) if number[0] == mask else 0


cdef int _read_continuation(const unsigned char **at, const unsigned char *end, uint64_t *number) noexcept:
    cdef int shift
    cdef unsigned char byte
    for shift in range(0, 7 * INTEGER_BYTES, 7):
        if at[0] >= end:
            return TRUNCATED
        byte = at[0][0]
        at[0] += 1
        number[0] += <uint64_t>(byte & 0x7f) << shift
        if byte < 0x80:
            return 0
    return LONG_INTEGER


cdef inline int _read_text(const unsigned char **at, const unsigned char *end, Text *text) noexcept:
    """Find the string (RFC 7541 section 5.2) that begins here. Returns the fault, or 0."""
    cdef uint64_t size = 0
    cdef int fault
    text.is_huffman = at[0] < end and at[0][0] & 0x80
    fault = _read_integer(at, end, 0x7f, &size)
    if fault:
        return fault
    if size > <uint64_t>(end - at[0]):
        return TRUNCATED
    text.data = at[0]
    text.size = <Py_ssize_t>size
    at[0] += text.size
    return 0


cdef object _make_text(const Text *text, bint is_name):
    """Return a string as bytes, or None when its code is invalid."""
    cdef unsigned char decoded[TEXT_ROOM]
    cdef const unsigned char *data = text.data
    cdef Py_ssize_t size = text.size
    cdef unsigned int slot
    if text.is_huffman:
        if size > SHORT_CODE:
            return _make_long_text(text)
        data = decoded
        size = huffman_decode(text.data, text.size, decoded)
        if size < 0:
            return None
    if is_name and size:
        slot = _slot(data, size)
        while _shared[slot] is not NULL:
            if _is_text(_shared[slot], data, size):
                return <object>_shared[slot]
            slot = (slot + 1) & (NAMES_SIZE - 1)
    return PyBytes_FromStringAndSize(<const char *>data, size)


cdef object _make_long_text(const Text *text):
    cdef PyObject *data = _new_bytes(NULL, text.size // 5 * 8 + 8)
    cdef Py_ssize_t size = huffman_decode(text.data, text.size, _bytes_of(data))
    if size < 0:
        Py_DECREF(data)
        return None
    _PyBytes_Resize(&data, size)
    made = <object>data
    Py_DECREF(data)
    return made


cdef inline const Known *_find(BlockDecoder decoder, uint64_t index) noexcept:
    """Return what has this index in the static table and the dynamic one behind it, or NULL."""
    if index <= STATIC_SIZE:
        return &_static[index] if index else NULL
    index -= STATIC_SIZE + 1
    if index >= decoder._count:
        return NULL
    return &decoder._entries[(decoder._added - 1 - <uint32_t>index) & (decoder._room - 1)]


cdef int _remember(BlockDecoder decoder, PyObject *field, Py_ssize_t size) except -1:
    """Put a field into the dynamic table (RFC 7541 section 4.4)."""
    cdef Known *entry
    if size > decoder._limit:
        _forget(decoder, 0)
        return 0
    _forget(decoder, decoder._limit - size)
    if decoder._count == decoder._room:
        _grow_decoder(decoder)
    entry = &decoder._entries[decoder._added & (decoder._room - 1)]
    Py_INCREF(field)
    entry.field = field
    entry.size = size
    decoder._added += 1
    decoder._count += 1
    decoder._used += size
    return 0


cdef void _forget(BlockDecoder decoder, Py_ssize_t size) noexcept:
    """Remove the oldest entries until the others have no more than `size` bytes."""
    cdef Known *entry
    while decoder._used > size:
        entry = &decoder._entries[(decoder._added - decoder._count) & (decoder._room - 1)]
        decoder._count -= 1
        decoder._used -= entry.size
        Py_DECREF(entry.field)


cdef int _grow_decoder(BlockDecoder decoder) except -1:
    cdef uint32_t room = decoder._room * 2 if decoder._room else ROOM
    cdef uint32_t age, number
    cdef Known *grown = <Known *>malloc(room * sizeof(Known))
    if grown is NULL:
        raise MemoryError()
    for age in range(decoder._count):
        number = decoder._added - 1 - age
        grown[number & (room - 1)] = decoder._entries[number & (decoder._room - 1)]
    free(decoder._entries)
    decoder._entries = grown
    decoder._room = room
    return 0


# -- the encoder

#: The bytes of a block so far.
cdef struct Output:
    unsigned char *data
    Py_ssize_t size
    Py_ssize_t room
    unsigned char here[OUTPUT_ROOM]


cdef class BlockEncoder:
    """Encodes the header blocks of one connection, in the order they go out."""

    def __init__(self):
        self._limit = TABLE_SIZE
        self._smallest = -1
        self._last = TABLE_SIZE

    def __dealloc__(self):
        _drop(self, 0)
        free(self._entries)
        free(self._newest)

    cpdef set_table_size(self, int size):
        """Take over the peer's SETTINGS_HEADER_TABLE_SIZE, in bytes; above 4096, 4096 are used.

        The next block begins with what RFC 7541 section 4.2 asks for: the smallest size since the last block, and the
        last one.
        """
        size = min(max(size, 0), <int>TABLE_SIZE)
        self._smallest = size if self._smallest < 0 else min(size, self._smallest)
        self._last = size

    cpdef bytes encode(self, list fields):
        """Return the block of these fields: (name, value) pairs of bytes, with names in lower case.

        `set-cookie` is never indexed (RFC 7541 section 7.1.3).

        Raises:
            TypeError, ValueError: a field is not a pair of bytes. Nothing has changed then.
        """
        cdef Output output
        cdef Py_ssize_t index
        cdef PyObject *field
        if fields is None:
            raise TypeError("fields are a list")
        for index in range(PyList_GET_SIZE(<PyObject *>fields)):
            if not _is_pair(PyList_GET_ITEM(<PyObject *>fields, index)):
                fields = [_check_field(item) for item in fields]
                break
        output.data = output.here
        output.size = 0
        output.room = OUTPUT_ROOM
        try:
            # No Python code runs from here on, so that the list stays as it is.
            if self._smallest >= 0:
                _announce(self, &output)
            for index in range(PyList_GET_SIZE(<PyObject *>fields)):
                field = PyList_GET_ITEM(<PyObject *>fields, index)
                _put_field(self, &output, PyTuple_GET_ITEM(field, 0), PyTuple_GET_ITEM(field, 1))
            return PyBytes_FromStringAndSize(<const char *>output.data, output.size)
        finally:
            if output.data != output.here:
                free(output.data)


cdef inline bint _is_pair(PyObject *field) noexcept:
    return (
        PyTuple_CheckExact(field)
        and PyTuple_GET_SIZE(field) == 2
        and PyBytes_CheckExact(PyTuple_GET_ITEM(field, 0))
        and PyBytes_CheckExact(PyTuple_GET_ITEM(field, 1))
    )


cdef tuple _check_field(object field):
    name, value = field
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise TypeError("the name and the value of a field are bytes")
    return bytes(name), bytes(value)


cdef int _announce(BlockEncoder encoder, Output *output) except -1:
    """Begin a block with the changes of the table's size; one that changes nothing is not told."""
    cdef int size
    for size in (encoder._smallest, encoder._last):
        if size != encoder._limit:
            _reserve(output, INTEGER_ROOM)
            _put_integer(output, 0x20, 0x1f, size)
            encoder._limit = size
            _drop(encoder, size)
    encoder._smallest = -1
    return 0


cdef int _put_field(BlockEncoder encoder, Output *output, PyObject *name, PyObject *value) except -1:
    cdef StaticName *static_name = _find_static_name(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + FIELD_SIZE
    cdef bint is_secret = static_name.first == SET_COOKIE and static_name.name is not NULL
    cdef bint fits = not is_secret and size <= encoder._limit
    cdef Py_ssize_t index
    cdef uint32_t name_hash, field_hash = 0
    _reserve(output, 3 * INTEGER_ROOM)
    if static_name.name is not NULL:
        for index in range(static_name.first, static_name.last + 1):
            if _is_same(PyTuple_GET_ITEM(_static[index].field, 1), value):
                _put_integer(output, 0x80, 0x7f, index)
                return 0
    name_hash = <uint32_t>PyObject_Hash(name)
    if fits:
        field_hash = name_hash * <uint32_t>0x9e3779b1 ^ <uint32_t>PyObject_Hash(value)
        index = _find_field(encoder, name, value, field_hash)
        if index:
            _put_integer(output, 0x80, 0x7f, index)
            return 0
    index = static_name.first if static_name.name is not NULL else _find_name(encoder, name, name_hash)
    if is_secret:
        _put_integer(output, 0x10, 0x0f, index)
    else:
        _put_integer(output, 0x40, 0x3f, index)
    if not index:
        _put_text(output, name)
    _put_text(output, value)
    if fits:
        _note(encoder, name, value, name_hash, field_hash, size)
    elif not is_secret:
        _drop(encoder, 0)
    return 0


cdef inline int _reserve(Output *output, Py_ssize_t size) except -1:
    if size > output.room - output.size:
        _grow_output(output, size)
    return 0


cdef int _grow_output(Output *output, Py_ssize_t size) except -1:
    cdef bint is_here = output.data == output.here
    cdef Py_ssize_t room = output.room * 2
    cdef unsigned char *grown
    while room < output.size + size:
        room *= 2
    grown = <unsigned char *>realloc(NULL if is_here else output.data, room)
    if grown is NULL:
        raise MemoryError()
    if is_here:
        memcpy(grown, output.here, output.size)
    output.data = grown
    output.room = room
    return 0


cdef inline void _put_integer(Output *output, unsigned char first, Py_ssize_t mask, Py_ssize_t number) noexcept:
    """Put an integer (RFC 7541 section 5.1) behind the bits of `first`; there is room."""
    cdef unsigned char *to = output.data + output.size
    if number < mask:
        to[0] = first | <unsigned char>number
        output.size += 1
        return
    to[0] = first | <unsigned char>mask
    to += 1
    number -= mask
    while number >= 0x80:
        to[0] = 0x80 | <unsigned char>(number & 0x7f)
        to += 1
        number >>= 7
    to[0] = <unsigned char>number
    output.size = to + 1 - output.data


cdef int _put_text(Output *output, PyObject *text) except -1:
    """Put a string (RFC 7541 section 5.2) in Huffman code, even where that is the longer form."""
    cdef Py_ssize_t size = huffman_size(_bytes_of(text), PyBytes_GET_SIZE(text))
    # An integer of 64 bits is longer than INTEGER_ROOM.
    _reserve(output, size + 2 * INTEGER_ROOM)
    _put_integer(output, 0x80, 0x7f, size)
    huffman_encode(_bytes_of(text), PyBytes_GET_SIZE(text), output.data + output.size)
    output.size += size
    return 0


# The entries are numbered from 1 on as they come; a number that is too old, or was never given, is `_count` or more
# behind. The newest entry of each bucket is known, and each entry knows the one before it. A number may come round
# again after 2^32 entries: all that costs is a comparison.

cdef inline Py_ssize_t _find_field(BlockEncoder encoder, PyObject *name, PyObject *value, uint32_t hash) noexcept:
    """Return the index of a field in the dynamic table, or 0."""
    cdef Sent *entry
    cdef uint32_t age, last_age = 0
    if not encoder._count:
        return 0
    age = encoder._added - encoder._newest[hash & (BUCKETS - 1)]
    # As ages only grow, this ends, whatever the numbers are.
    while age < encoder._count and age >= last_age:
        entry = &encoder._entries[(encoder._added - age) & (encoder._room - 1)]
        if entry.hash == hash and _is_same(entry.name, name) and _is_same(entry.value, value):
            return STATIC_SIZE + 1 + <Py_ssize_t>age
        last_age = age + 1
        age = encoder._added - entry.older
    return 0


cdef Py_ssize_t _find_name(BlockEncoder encoder, PyObject *name, uint32_t hash) noexcept:
    """Return the index of the newest field with this name in the dynamic table, or 0."""
    cdef Sent *entry
    cdef uint32_t age
    for age in range(encoder._count):
        entry = &encoder._entries[(encoder._added - age) & (encoder._room - 1)]
        if entry.name_hash == hash and _is_same(entry.name, name):
            return STATIC_SIZE + 1 + <Py_ssize_t>age
    return 0


cdef int _note(
    BlockEncoder encoder, PyObject *name, PyObject *value, uint32_t name_hash, uint32_t hash, Py_ssize_t size
) except -1:
    """Put a field that fits into the dynamic table (RFC 7541 section 4.4)."""
    cdef Sent *entry
    cdef uint32_t *newest
    _drop(encoder, encoder._limit - size)
    if encoder._count == encoder._room:
        _grow_encoder(encoder)
    encoder._added += 1
    entry = &encoder._entries[encoder._added & (encoder._room - 1)]
    newest = &encoder._newest[hash & (BUCKETS - 1)]
    Py_INCREF(name)
    Py_INCREF(value)
    entry.name = name
    entry.value = value
    entry.name_hash = name_hash
    entry.hash = hash
    entry.older = newest[0]
    entry.size = <uint32_t>size
    newest[0] = encoder._added
    encoder._count += 1
    encoder._used += size
    return 0


cdef void _drop(BlockEncoder encoder, Py_ssize_t size) noexcept:
    """Remove the oldest entries until the others have no more than `size` bytes."""
    cdef Sent *entry
    while encoder._used > size:
        encoder._count -= 1
        entry = &encoder._entries[(encoder._added - encoder._count) & (encoder._room - 1)]
        encoder._used -= entry.size
        Py_DECREF(entry.name)
        Py_DECREF(entry.value)


cdef int _grow_encoder(BlockEncoder encoder) except -1:
    cdef uint32_t room = encoder._room * 2 if encoder._room else ROOM
    cdef uint32_t age, number
    cdef Sent *grown
    if encoder._newest is NULL:
        encoder._newest = <uint32_t *>calloc(BUCKETS, sizeof(uint32_t))
        if encoder._newest is NULL:
            raise MemoryError()
    grown = <Sent *>malloc(room * sizeof(Sent))
    if grown is NULL:
        raise MemoryError()
    for age in range(encoder._count):
        number = encoder._added - age
        grown[number & (room - 1)] = encoder._entries[number & (encoder._room - 1)]
    free(encoder._entries)
    encoder._entries = grown
    encoder._room = room
    return 0
