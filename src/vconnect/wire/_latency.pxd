# cython: language_level=3
"""Fields of the rows of latencies, and the recording, which the tables of events do inline."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject

from vconnect._framing cimport EventName

cdef extern from *:
    """
    /* The place of the highest bit that is set; of 0 it is undefined. */
    static inline int vc_highest_bit(unsigned long long value) {
        return 63 - __builtin_clzll(value);
    }
    """
    int highest_bit "vc_highest_bit"(unsigned long long value) nogil

cdef enum:
    # Four cells per octave from 8 us to 67 s, one below and one above.
    CELLS = 94
    LOWEST_BIT = 3
    HIGHEST_BIT = 25
    OUTCOMES = 9
    # How many moments of the past a row keeps; see `Row.keep`.
    KEPT = 8
    # Slots of the cache in front of a plugin's rows: a power of two.
    CACHED = 16

    # The outcome of an answer that is good as it is; the others are counted from Python.
    ANSWERED_WELL = 0


cdef struct Moment:
    uint32_t cells[CELLS]           # the low bits of what `Row` has; only differences count
    uint32_t outcomes[OUTCOMES]
    uint64_t sum_us


cdef inline int cell_of(uint64_t us) noexcept nogil:
    """Return the cell of a duration in microseconds."""
    cdef int bit
    if us < 1 << LOWEST_BIT:
        return 0
    bit = highest_bit(us)
    if bit > HIGHEST_BIT:
        return CELLS - 1
    return 1 + ((bit - LOWEST_BIT) << 2) + <int>((us >> (bit - 2)) & 3)


cdef class Row:
    cdef readonly str event         # its label
    cdef uint64_t cells[CELLS]
    cdef uint64_t sum_us
    cdef uint64_t outcomes[OUTCOMES]
    cdef Moment kept[KEPT]
    cdef uint64_t slow_us           # from here on, a duration is also kept in `slow`
    cdef list slow                  # seconds; None while nobody watches

    cdef inline int record(self, double seconds) except -1:
        cdef uint64_t us = <uint64_t>(seconds * 1e6) if seconds > 0 else 0
        self.cells[cell_of(us)] += 1
        self.sum_us += us
        if us >= self.slow_us:
            self.note_slow(seconds)
        return 0

    cdef int note_slow(self, double seconds) except -1


cdef class Rows:
    cdef object label               # returns the label of an event's name
    cdef dict rows                  # by label; never shrinks, so that a lane may borrow from it
    cdef public int64_t sent        # events that were sent, or wait for a slot; see `LaneCore`
    cdef dict by_name               # EventName to Row
    # The cache: pointers into the two lists are compared, see `find`.
    cdef list names
    cdef list found

    cdef inline Row find(self, EventName name):
        cdef Py_ssize_t slot = (<size_t><void*>name >> 6) & (CACHED - 1)
        if <void*>PyList_GET_ITEM(self.names, slot) == <void*>name:
            return <Row>PyList_GET_ITEM(self.found, slot)
        return self.search(name, slot)

    cdef Row search(self, EventName name, Py_ssize_t slot)
