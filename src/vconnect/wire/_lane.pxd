# cython: language_level=3
"""Fields of a lane. Each pointer says who owns it and until when."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from vconnect._framing cimport EventName
from ._inflight cimport AnsweredStream, Call, InFlight, Terms
from ._latency cimport Rows


cdef class LaneCore(AnsweredStream):
    cdef bint serving               # after the handshake: frames are answers
    cdef dict future_options        # shared by all lanes of a loop
    cdef InFlight table             # None before `serve`
    cdef Rows rows                  # of the plugin; outlives its connections; None if none is kept
    cdef uint32_t max_frame_bytes   # the longest payload that is sent
    cdef Py_ssize_t window
    cdef Py_ssize_t max_abandoned
    cdef bint ping_pong             # the last read had one answer: send a lone event at once

    # Events that wait for a slot in the window.
    cdef object waiting             # deque of Call; None until the first has to wait
    cdef object told                # deque of the notifications among them; None likewise
    cdef Py_ssize_t dropped_waiting  # how many of `waiting` are marked as dropped
    cdef Py_ssize_t max_queued
    cdef Py_ssize_t max_notified, max_published
    cdef int64_t max_queued_bytes   # of what waits, of what is in flight, and of the peer's calls
    cdef list room_waiters          # futures of callers that wait for room, and for how many bytes

    cdef str end_reason             # why its calls failed, if there is no error

    # One timer for all deadlines.
    cdef object timer
    cdef double timer_at            # monotonic; infinity without a timer

    cdef readonly list lost         # classic frames of the events in flight at the end
    cdef readonly uint64_t dropped  # notifications for which the queue was full
    cdef readonly uint64_t displaced  # those among them that had been queued

    cdef void count_told(self, int64_t number) noexcept
    cdef object new_future(self)
    cdef int submit(self, object message, object future, const Terms* terms) except -1
    cdef PyObject* row_of(self, EventName name)
    cdef PyObject* row_since(self, object message, double began)
    cdef bint must_wait(self) noexcept
    cdef int line_up(self, Call call) except -1
    cdef Py_ssize_t queue_length(self) noexcept
    cdef bint may_hold(self, Py_ssize_t size) noexcept
    cdef bint has_room(self, Py_ssize_t size) noexcept
    cdef bint makes_room(self, Py_ssize_t size, str overflow) except -1
    cdef int drop_oldest(self) except -1
    cdef int pump(self) except -1
    cdef int wake_room_waiters(self) except -1
    cdef int refuse_unread(self, const char* data, Py_ssize_t size, object error) except -1
    cdef int arm(self, double when, double now) except -1
    cdef double expire_waiting(self, double now) except -1
