# cython: language_level=3
"""Fields of the tables and of their lane. Each pointer says who owns it and until when."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from vconnect._framing cimport parse_object

from cpython.object cimport PyObject

from ._charged cimport ChargedStream
from ._latency cimport Row

cdef struct Terms:
    double deadline                 # monotonic; infinity without one
    double began                    # monotonic; when the caller sent it
    PyObject* row                   # Row, borrowed from the lane's rows; NULL if not counted
    uint32_t hops
    bint wants_data                 # made by `request`: only the answer's data is of interest


cdef inline int note_late(const Terms* terms) except -1:
    """Record an event that was not answered in time: it has taken as long as it might."""
    if terms.row != NULL:
        (<Row>terms.row).record(terms.deadline - terms.began)
    return 0


cdef class Call:
    """An event that waits for a slot, or that has one in a table by number."""

    cdef object message             # Event, or bytes: a classic frame
    cdef object future              # Future, Delivery, Paid, or None for a notification
    cdef Terms terms
    cdef bint is_dropped            # queued: displaced, skip it; in a table: abandoned and reported
    cdef bint is_own                # an event of the host itself, which takes no slot


cdef Call new_call(object message, object future, const Terms* terms)


cdef class ByteBudget:
    cdef readonly int64_t limit
    cdef readonly int64_t used
    cdef list waiters               # futures of those that wait until less is used

    cdef int wake(self) except -1


cdef Py_ssize_t bytes_of(object message) noexcept


cdef class AnsweredStream(ChargedStream):
    """A stream whose peer answers events: the part of a lane that its table uses."""

    cdef str plugin                 # for error messages
    cdef object read_data           # extracts the data from an answer
    cdef double stuck_after         # seconds
    cdef double paused_at           # monotonic; when the transport's buffer last became full
    cdef double read_at             # monotonic; when the answers came that are being processed

    cdef readonly uint64_t answered
    cdef readonly uint64_t late     # answers to abandoned calls
    cdef readonly uint64_t unasked  # answers that belong to no event in flight
    cdef int bad_answers            # answers in a row that could not be read
    cdef int unasked_in_row         # frames in a row that answer nothing

    cdef readonly int64_t held_bytes  # of the events that wait or are in flight
    cdef ByteBudget total           # of all lanes together; None before `serve`

    cdef inline dict parse(self, const char* payload, Py_ssize_t size):
        return parse_object(payload, size, self.max_values, self.max_keys)

    cdef inline void hold(self, Py_ssize_t size) noexcept:
        self.held_bytes += size
        self.total.used += size

    cdef inline int let_go(self, Py_ssize_t size) except -1:
        """Record that a message of this size is held no longer."""
        self.held_bytes -= size
        self.total.used -= size
        if self.total.waiters and self.total.used < self.total.limit:
            return self.total.wake()
        return 0

    cdef int count_unasked(self) except -1
    cdef int answer(self, object future, object answer, const Terms* terms) except -1
    cdef int fail_call(self, object future, object error, const Terms* terms) except -1
    cdef int bad_answer(self, object future, object error, const Terms* terms) except -1
    cdef int count_bad(self, object error) except -1


cdef class InFlight:
    """The events in flight of one lane: where the dialects differ."""

    cdef AnsweredStream lane        # borrowed: the lane owns its table
    cdef Py_ssize_t own             # events of the host itself in flight, which `count` leaves out

    cdef Py_ssize_t count(self) noexcept
    cdef int add(self, object message, object future, const Terms* terms) except -1
    cdef int accept(self, const char* payload, Py_ssize_t size) except -1
    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1
    cdef object why_stuck(self, double now, bint waiting)
    cdef list take_all(self)
    cdef list take_messages(self)


cdef class InOrder(InFlight):
    # A ring whose `head` is the oldest. A slot whose future is done (by its deadline, or cancelled
    # by its caller) is abandoned. It stays until its answer arrives, because answers are matched
    # by position only.
    cdef list messages              # parallel to `places`: what was sent, for the crash report
    cdef list places                # Future, Delivery, Paid, or None for a notification
    cdef Terms* terms               # owned, PyMem; parallel to `places`
    cdef uint64_t head
    cdef uint64_t tail
    cdef uint64_t capacity          # of the ring: a power of two, or 0 before the first event
    cdef uint64_t mask              # capacity - 1
    cdef uint64_t head_seen         # the value of `head` when a sweep last saw it change
    cdef double head_seen_at        # monotonic; when that was, or 0 while the lane is idle

    cdef int grow(self) except -1
    cdef int settle(
        self, object future, const Terms* terms, const char* payload, Py_ssize_t size
    ) except -1


cdef class ByNumber(InFlight):
    cdef dict calls                 # id to Call; a call whose future is done is abandoned
    cdef uint64_t next_number

    cdef Call take(self, object number)
    cdef object number_of(self, dict message)
    cdef int accept_large(self, const char* payload, Py_ssize_t size) except -1
    cdef int accept_unasked(
        self, const char* payload, Py_ssize_t size, bint has_status, double began
    ) except -1
    cdef int read(self, const char* payload, Py_ssize_t size) except -1
    cdef int hand_over(self, const char* payload, Py_ssize_t size) except -1
    cdef int unread(self, const char* payload, Py_ssize_t size, object error) except -1
    cdef int settle(self, Call call, dict message) except -1
