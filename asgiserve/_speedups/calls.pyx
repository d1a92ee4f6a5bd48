"""Calls that every request makes. The compiled twin of `_core/calls.py`.

A twin because the language has no words for what is saved: the copy that `**keywords` makes of a dictionary, the search
for a method whose place is known, and a comparison that looks at the lengths first.
"""

from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from cpython.object cimport PyObject_Call


cdef extern from *:
    """
    /* Only for a method descriptor: what a `def` in an extension type is. */
    static PyObject *bind_method(PyObject *method, PyObject *instance) {
        return PyCFunction_NewEx(((PyMethodDescrObject *)method)->d_method, instance, NULL);
    }
    """
    object bind_method(object method, object instance)


cdef extern from *:
    """
    static int is_same_text(PyObject *item, PyObject *text) {
        if (item == text)
            return 1;
        if (!PyUnicode_CheckExact(item))
            return PyObject_RichCompareBool(item, text, Py_EQ);
        return PyUnicode_GET_LENGTH(item) == PyUnicode_GET_LENGTH(text) && PyUnicode_KIND(item) == PyUnicode_KIND(text) &&
            memcmp(PyUnicode_DATA(item), PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text) * PyUnicode_KIND(text)) == 0;
    }
    """
    bint is_same_text(object item, object text) except -1


cpdef call(function, argument, dict keywords):
    """Return `function(argument, **keywords)`. It must have read `keywords` before it calls back."""
    return PyObject_Call(function, (argument,), keywords)


cpdef bind(method, instance):
    """Return `method`, which a class has defined, bound to an instance of that class or of one derived from it."""
    return bind_method(method, instance)


cpdef bint is_text(item, str text) except -1:
    """Whether `item` is equal to `text`."""
    return is_same_text(item, text)


cpdef call_in(context, function, argument):
    """Return `function(argument)`, called in `context`.

    Raises:
        RuntimeError: the context is in use.
    """
    PyContext_Enter(context)
    try:
        return function(argument)
    finally:
        PyContext_Exit(context)
