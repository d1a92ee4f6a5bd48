"""The dictionary that is an HTTP scope. The compiled twin of `_core/scopedict.py`.

A twin because only here an object's references are counted. The last scope is used again if nobody has it any more, and
nothing was put into it or into the dictionaries in it: to make and to free them all would be a sixth of a small request.
That is for applications which are done when their task has been started; while others wait, the next scope is made.

The second time on, the interpreter says whether something was put into them (PyDict_Watch, Python 3.12), so that they
need not be read again.
"""

from cpython.dict cimport PyDict_SetItem
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM
from libc.string cimport memcpy

from asgiserve._speedups.spare cimport count_references

from .._consts import ASGI_VERSION, SPEC_VERSION

cdef extern from *:
    """
    /* Borrow the values of a dictionary that has just so many keys: are they these, in this order? */
    static int read_values(PyObject *dict, PyObject *keys, PyObject **values) {
        Py_ssize_t position = 0, place, count = PyTuple_GET_SIZE(keys);
        PyObject *key;
        for (place = 0; place < count; place++)
            if (!PyDict_Next(dict, &position, &key, &values[place]) || key != PyTuple_GET_ITEM(keys, place))
                return 0;
        return 1;
    }

    /* Is it a dictionary with so many keys that only one thing refers to? */
    static int is_own_dict(PyObject *item, Py_ssize_t size) {
        return PyDict_CheckExact(item) && count_references(item) == 1 && PyDict_Size(item) == size;
    }

    /* Is it an address, or none? Such refers to nothing that somebody could wait to be gone; nor do strings. */
    static int is_address(PyObject *item) {
        Py_ssize_t place;
        if (item == Py_None)
            return 1;
        if (!PyTuple_CheckExact(item))
            return 0;
        for (place = 0; place < PyTuple_GET_SIZE(item); place++) {
            PyObject *part = PyTuple_GET_ITEM(item, place);
            if (!PyUnicode_CheckExact(part) && !PyLong_CheckExact(part) && part != Py_None)
                return 0;
        }
        return 1;
    }

    /* Is it one that only one thing refers to? */
    static int is_own(PyObject *item) {
        return count_references(item) == 1;
    }

    /* Whether one of the dictionaries that are watched has changed since this was reset. One that is freed while it is
     * a part of the scope was taken out of that, which is a change of the scope. */
    static int has_changed = 1;

    #if PY_VERSION_HEX >= 0x030C0000 && !defined(PYPY_VERSION)
    static int watcher = -1;

    static int on_change(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value) {
        if (event != PyDict_EVENT_DEALLOCATED)
            has_changed = 1;
        return 0;
    }

    /* An interpreter has few watchers: others may have taken them all. */
    static void make_watcher(void) {
        watcher = PyDict_AddWatcher(on_change);
        if (watcher < 0)
            PyErr_Clear();
    }

    /* Whether it is watched now. */
    static int watch(PyObject *dict) {
        if (watcher < 0)
            return 0;
        if (PyDict_Watch(watcher, dict) < 0) {
            PyErr_Clear();
            return 0;
        }
        return 1;
    }
    #else
    static void make_watcher(void) {}
    static int watch(PyObject *dict) { return 0; }
    #endif

    #define is_str(item) PyUnicode_CheckExact(item)
    #define is_bytes(item) PyBytes_CheckExact(item)
    """
    bint read_values(PyObject *mapping, tuple keys, PyObject **values) noexcept
    bint is_own_dict(PyObject *item, Py_ssize_t size) noexcept
    bint is_address(PyObject *item) noexcept
    bint is_own(PyObject *item) noexcept
    bint has_changed
    void make_watcher() noexcept
    bint watch(PyObject *mapping) noexcept
    bint is_str(PyObject *item) noexcept
    bint is_bytes(PyObject *item) noexcept

# The places of the keys. A dictionary keeps the order in which they came.
cdef enum:
    TYPE
    ASGI
    HTTP_VERSION
    SERVER
    CLIENT
    SCHEME
    METHOD
    ROOT_PATH
    PATH
    RAW_PATH
    QUERY_STRING
    HEADERS
    STATE
    EXTENSIONS
    COUNT

    MOST_NAMES = 4

cdef str _TYPE = "http"
cdef str _VERSION = ASGI_VERSION
cdef str _SPEC_VERSION = SPEC_VERSION
cdef dict _ASGI = {"version": _VERSION, "spec_version": _SPEC_VERSION}
cdef tuple _VERSION_KEYS = tuple(_ASGI)

# What a new scope is a copy of. The next one most likely has many of its values too.
cdef dict _pattern = {
    "type": _TYPE,
    "asgi": None,
    "http_version": "1.1",
    "server": None,
    "client": None,
    "scheme": "http",
    "method": "GET",
    "root_path": "",
    "path": "",
    "raw_path": b"",
    "query_string": b"",
    "headers": None,
    "state": None,
    "extensions": None,
}
cdef tuple _KEYS = tuple(_pattern)
cdef PyObject *_pattern_values[COUNT]
read_values(<PyObject *>_pattern, _KEYS, _pattern_values)

cdef dict _spare = None  # the last scope, if it is as good as a new one
cdef PyObject *_spare_values[COUNT]
cdef PyObject *_spare_details[MOST_NAMES]  # the dictionaries of its extensions
cdef tuple _names = None  # the extensions of the last scope
cdef PyObject *_watched = NULL  # the last scope whose dictionaries are all watched; not a reference
cdef PyObject *_made = NULL  # the last scope, if it is that one; has_changed is about it, and what is spare was its own

make_watcher()


cpdef dict make_scope(
    str http_version,
    object server,
    object client,
    str scheme,
    str method,
    str root_path,
    str path,
    bytes raw_path,
    bytes query_string,
    list headers,
    dict state,
    tuple extensions,
):
    """Return a scope of type "http" with a copy of `state` and an empty dictionary for each of `extensions`."""
    global _spare, _names, _made, has_changed
    cdef dict scope = _spare
    cdef PyObject *found[COUNT]
    cdef PyObject *wanted[COUNT]
    wanted[TYPE] = <PyObject *>_TYPE
    wanted[HTTP_VERSION] = <PyObject *>http_version
    wanted[SERVER] = <PyObject *>server
    wanted[CLIENT] = <PyObject *>client
    wanted[SCHEME] = <PyObject *>scheme
    wanted[METHOD] = <PyObject *>method
    wanted[ROOT_PATH] = <PyObject *>root_path
    wanted[PATH] = <PyObject *>path
    wanted[RAW_PATH] = <PyObject *>raw_path
    wanted[QUERY_STRING] = <PyObject *>query_string
    _spare = None
    _made = NULL
    if scope is not None and extensions is _names and count_references(<PyObject *>scope) == 1:
        memcpy(found, _spare_values, sizeof(found))
        wanted[ASGI] = found[ASGI]
        wanted[HEADERS] = <PyObject *>headers
        wanted[STATE] = found[STATE]
        wanted[EXTENSIONS] = found[EXTENSIONS]
        _replace(scope, found, wanted)
        if <PyObject *>scope == _watched:  # what was freed may have taken another one back meanwhile
            memcpy(_spare_values, found, sizeof(found))
            _made = _watched
            has_changed = False
        if state:
            scope["state"] = state.copy()
        return scope
    _names = extensions
    wanted[ASGI] = wanted[HEADERS] = wanted[STATE] = wanted[EXTENSIONS] = <PyObject *>None
    _replace(_pattern, _pattern_values, wanted)
    scope = _pattern.copy()
    scope["asgi"] = _ASGI.copy()
    scope["headers"] = headers
    scope["state"] = state.copy()
    scope["extensions"] = _announce(extensions)
    return scope


cdef _replace(dict scope, PyObject **found, PyObject **wanted):
    """Where `scope` does not have the values that are `wanted`, put them in place of those that it has."""
    cdef int changed[COUNT]
    cdef int place, index, changes = 0
    # All are compared before any is set: what is freed then might run code, which might do anything.
    for place in range(COUNT):
        if wanted[place] != found[place]:
            changed[changes] = place
            changes += 1
    for index in range(changes):
        place = changed[index]
        PyDict_SetItem(scope, <object>PyTuple_GET_ITEM(_KEYS, place), <object>wanted[place])
        found[place] = wanted[place]


cdef dict _announce(tuple extensions):
    cdef dict announced = {}
    for name in extensions:
        announced[name] = {}
    return announced


cpdef take_back(dict scope, list headers):
    """Keep a scope that was made with `headers` and that the caller does not need any more, unless somebody else does."""
    global _spare, _watched
    cdef PyObject *values[COUNT]
    if <PyObject *>scope == _made and not has_changed:
        if _is_all_own(<PyObject *>scope):
            _spare = scope
        return
    _spare = None
    if (
        not is_own_dict(<PyObject *>scope, COUNT)
        or not read_values(<PyObject *>scope, _KEYS, values)
        or values[HEADERS] != <PyObject *>headers
        or not _is_as_new(values)
    ):
        return
    memcpy(_spare_values, values, sizeof(values))
    _spare = scope
    _watched = <PyObject *>scope if _watch_all(<PyObject *>scope) else NULL


cdef bint _is_all_own(PyObject *scope) noexcept:
    """Whether nobody else has the scope, which has not changed, or a dictionary in it."""
    cdef int place
    if not (
        is_own(scope)
        and is_own(_spare_values[ASGI])
        and is_own(_spare_values[STATE])
        and is_own(_spare_values[EXTENSIONS])
    ):
        return False
    for place in range(len(_names)):
        if not is_own(_spare_details[place]):
            return False
    return True


cdef bint _watch_all(PyObject *scope) noexcept:
    """Watch the spare scope and the dictionaries in it."""
    cdef int place
    for place in range(len(_names)):
        if not watch(_spare_details[place]):
            return False
    return (
        watch(scope) and watch(_spare_values[ASGI]) and watch(_spare_values[STATE]) and watch(_spare_values[EXTENSIONS])
    )


cdef bint _is_as_new(PyObject **values) noexcept:
    """Whether a scope with these values is as good as a new one, its headers aside: nobody can miss or find anything."""
    cdef PyObject *versions[2]
    cdef int place
    if not (
        is_str(values[TYPE])
        and is_str(values[HTTP_VERSION])
        and is_address(values[SERVER])
        and is_address(values[CLIENT])
        and is_str(values[SCHEME])
        and is_str(values[METHOD])
        and is_str(values[ROOT_PATH])
        and is_str(values[PATH])
        and is_bytes(values[RAW_PATH])
        and is_bytes(values[QUERY_STRING])
    ):
        return False
    if not is_own_dict(values[STATE], 0) or not is_own_dict(values[ASGI], 2):
        return False
    if not read_values(values[ASGI], _VERSION_KEYS, versions):
        return False
    if versions[0] != <PyObject *>_VERSION or versions[1] != <PyObject *>_SPEC_VERSION:
        return False
    if len(_names) > MOST_NAMES or not is_own_dict(values[EXTENSIONS], len(_names)):
        return False
    if not read_values(values[EXTENSIONS], _names, _spare_details):
        return False
    for place in range(len(_names)):
        if not is_own_dict(_spare_details[place], 0):
            return False
    return True
