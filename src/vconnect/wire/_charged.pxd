# cython: language_level=3
"""Fields of a stream whose peer pays. Each pointer says who owns it and until when."""

from ._stream cimport StreamCore

cdef enum:
    # Of a native frame of this size or more, the number is read before the rest is parsed, and
    # what is done unasked is charged. Below, looking at the clock would cost as much.
    DEAR_ABOVE = 4 * 1024

    # Why a peer is not read from: bits of `StreamCore.holds`.
    REPLIES_UNREAD = 1              # it does not read the replies to its calls
    RESTING = 2                     # it has used up its time, or others have their turn
    CALLS_FULL = 4                  # as many of its calls as may wait do


cdef double UNASKED_BURST


cdef class ChargedStream(StreamCore):
    # Time that the peer may still make us spend on what nobody asked for, in seconds.
    cdef double unasked_left
    cdef double unasked_at          # monotonic; when that was true
    cdef object rest_timer          # while RESTING; None otherwise
    cdef bint is_paused             # the transport does not read

    cdef int charge(self, double began) except -1
    cdef int spend(self, double seconds) except -1
    cdef double look_at_budget(self)
    cdef int rest(self) except -1
    cdef int hold_back(self, int why) except -1
    cdef int let_read(self, int why) except -1
    cdef int serve_again(self) except -1


cdef class Paid:
    cdef object future              # Future or Delivery
    cdef ChargedStream payer


cdef object paid(object future, ChargedStream payer)
