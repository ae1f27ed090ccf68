# cython: language_level=3
"""Fields of a stream whose peer pays. Each pointer says who owns it and until when."""

from ._stream cimport StreamCore

cdef enum:
    # For a native frame of this size or more, the number is read before the rest is parsed, and
    # unsolicited work is charged. Below, reading the clock would cost as much.
    DEAR_ABOVE = 4 * 1024

    # Reasons not to read from a peer: bits of `StreamCore.holds`.
    REPLIES_UNREAD = 1              # it does not read the replies to its calls
    RESTING = 2                     # it is over budget, or other connections have their turn
    CALLS_FULL = 4                  # its queue of calls is full


cdef class ChargedStream(StreamCore):
    cdef double unasked_left        # what is left of the budget, in seconds; negative: over budget
    cdef double unasked_at          # monotonic; when that was computed
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
    cdef object future
    cdef object account             # has `pay(seconds)`


cdef object paid(object future, object account)
