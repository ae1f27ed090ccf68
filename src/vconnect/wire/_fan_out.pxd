# cython: language_level=3
"""Fields of a fan-out and its deliveries."""


cdef class FanOut:
    cdef list deliveries
    cdef Py_ssize_t missing         # deliveries that are not done
    cdef object complete            # the future of `wait`; None before

    cdef int one_less(self) except -1


cdef class Delivery:
    cdef FanOut whole               # None once it is done or abandoned
    cdef object answer
    cdef object error
    cdef double ended               # monotonic

    cdef int end(self) except -1
