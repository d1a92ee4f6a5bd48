cdef int BUDGET, ENHANCE_YOUR_CALM, EXPLAINED_UPDATES, MAX_EXPLAINED_UPDATES, MAX_WINDOW_UPDATES, REFILL
cdef Py_ssize_t UPDATE_SIZE

cdef class Budget:
    cdef double _spent
    cdef double _counted
    cdef int _updates

    cpdef spend(self, int price, double now, str what)
    cpdef count_update(self)
    cpdef explain_updates(self, Py_ssize_t size)
