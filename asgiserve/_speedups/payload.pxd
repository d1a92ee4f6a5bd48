"""What payloads need byte by byte: masks (RFC 6455 section 5.3) and UTF-8 (RFC 3629).

It is compiled into the one module that takes it in, `frames.pyx`, and knows nothing of frames.
"""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(object text)

cdef enum:
    SHORT = 255  # the longest text that is decoded here

ctypedef fused Unit:
    uint8_t
    uint16_t
    uint32_t


cdef inline bint is_ascii(uint64_t word) noexcept:
    return word & 0x8080808080808080ULL == 0


# -- masks: the key twice in a word, as it stands in memory, so that the order of bytes in a word does not matter

cdef inline uint64_t load_mask(const unsigned char *key) noexcept:
    cdef uint64_t mask
    memcpy(&mask, key, 4)
    memcpy(<char *>&mask + 4, key, 4)
    return mask


cdef inline uint64_t rotate_mask(uint64_t mask, Py_ssize_t shift) noexcept:
    """The mask for what follows `shift` bytes, 0 to 3, of payload."""
    return load_mask(<unsigned char *>&mask + shift)


cdef inline uint64_t unmask(unsigned char *to, const unsigned char *data, Py_ssize_t size, uint64_t mask) noexcept:
    """Unmask to `to`; return a word that has a high bit where any byte has one."""
    cdef uint64_t word
    cdef uint64_t seen = 0
    cdef uint32_t half
    cdef uint16_t quarter
    cdef Py_ssize_t at = 0
    while at < size - 7:
        memcpy(&word, data + at, 8)
        word ^= mask
        seen |= word
        memcpy(to + at, &word, 8)
        at += 8
    if size & 4:
        memcpy(&half, data + at, 4)
        half ^= <uint32_t>mask
        seen |= half
        memcpy(to + at, &half, 4)
        at += 4
    if size & 2:
        memcpy(&quarter, &mask, 2)
        to[at] = data[at] ^ (<unsigned char *>&quarter)[0]
        to[at + 1] = data[at + 1] ^ (<unsigned char *>&quarter)[1]
        seen |= to[at] | to[at + 1]
        at += 2
    if size & 1:
        to[at] = data[at] ^ (<unsigned char *>&mask)[at & 3]
        seen |= to[at]
    return seen


# -- UTF-8 (RFC 3629)

cdef inline Py_ssize_t check_utf8(const unsigned char *data, Py_ssize_t at, Py_ssize_t end) noexcept:
    """Check from `at`, where a character begins.

    Returns:
        `end`, or where a character begins that is not whole yet; -1 when no bytes that follow can make this valid.
    """
    cdef uint64_t word
    cdef unsigned char first, second
    while at < end:
        first = data[at]
        if first < 0x80:
            at += 1
            while at < end - 7:
                memcpy(&word, data + at, 8)
                if not is_ascii(word):
                    break
                at += 8
            continue
        if first < 0xc2 or first > 0xf4:
            return -1
        if end - at < 2:
            break
        second = data[at + 1]
        if second & 0xc0 != 0x80:
            return -1
        if first < 0xe0:
            at += 2
            continue
        if first < 0xf0:
            if (first == 0xe0 and second < 0xa0) or (first == 0xed and second > 0x9f):
                return -1
        elif (first == 0xf0 and second < 0x90) or (first == 0xf4 and second > 0x8f):
            return -1
        if end - at < 3:
            break
        if data[at + 2] & 0xc0 != 0x80:
            return -1
        if first < 0xf0:
            at += 3
            continue
        if end - at < 4:
            break
        if data[at + 3] & 0xc0 != 0x80:
            return -1
        at += 4
    return at


cdef inline str decode_utf8(const unsigned char *data, Py_ssize_t size):
    """Return what `data` says, which has a zero behind its end; None when it is not UTF-8."""
    if size <= SHORT:
        return decode_short(data, size)
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)
    except UnicodeDecodeError:
        return None


cdef inline str decode_short(const unsigned char *data, Py_ssize_t size):
    """Do so in about half the time that Python takes for a short text; for a long one it would be no faster."""
    cdef unsigned char most = 0
    cdef unsigned char length = 0  # one byte, for the sake of vector instructions
    cdef Py_ssize_t at
    cdef str text
    cdef bint is_valid
    for at in range(size):
        length += data[at] & 0xc0 != 0x80  # a character begins
        most = data[at] if data[at] > most else most
    # The largest first byte says how wide the str is, if all is well.
    text = PyUnicode_New(length, 0x7f if most < 0x80 else 0xff if most < 0xc4 else 0xffff if most < 0xf0 else 0x10ffff)
    if most < 0x80:
        memcpy(PyUnicode_DATA(text), data, size)
        return text
    if most < 0xc4:
        is_valid = write_characters(<uint8_t *>PyUnicode_DATA(text), data, data + size)
    elif most < 0xf0:
        is_valid = write_characters(<uint16_t *>PyUnicode_DATA(text), data, data + size)
    else:
        is_valid = write_characters(<uint32_t *>PyUnicode_DATA(text), data, data + size)
    return text if is_valid else None


cdef inline bint write_characters(Unit *to, const unsigned char *data, const unsigned char *end) noexcept:
    """Write characters at `to`, in units that are wide enough for all. Return whether they are valid.

    Each takes a byte that decode_short() has counted, so there is room. The zero behind the end continues none.
    """
    cdef uint32_t first, second, third, fourth
    while data < end:
        first = data[0]
        if first < 0x80:
            to[0] = <Unit>first
            data += 1
            to += 1
            continue
        second = data[1] ^ 0x80  # now less than 0x40, if it continues
        if first < 0xe0:
            if first < 0xc2 or second > 0x3f:
                return False
            to[0] = <Unit>((first & 0x1f) << 6 | second)
            data += 2
            to += 1
            continue
        if second > 0x3f:
            return False
        third = data[2] ^ 0x80
        if third > 0x3f:
            return False
        if first < 0xf0:
            first = (first & 0x0f) << 12 | second << 6 | third
            if first < 0x800 or 0xd800 <= first <= 0xdfff:
                return False
            data += 3
        else:
            fourth = data[3] ^ 0x80
            if first > 0xf4 or fourth > 0x3f:
                return False
            first = (first & 0x07) << 18 | second << 12 | third << 6 | fourth
            if first < 0x10000 or first > 0x10ffff:
                return False
            data += 4
        to[0] = <Unit>first
        to += 1
    return True
