# cython: language_level=3
"""Fields of the compiled core. Each pointer says who owns it and until when."""

from libc.stdint cimport uint32_t, uint64_t


cdef class FrameDecoder:
    cdef uint32_t max_frame_bytes
    cdef bytearray kept             # the beginning of a frame whose rest has not come
    cdef object error               # set once: what broke the stream for good

    cdef int _cut(self, const char* data, Py_ssize_t size, list payloads) except -1


cdef class ReadBuffer:
    cdef bytearray store            # never resized: `view` exports it
    cdef object view                # memoryview over all of `store`
    cdef char* data                 # borrowed from `store`, valid as long as this object
    cdef Py_ssize_t size


cdef class StreamCore:
    cdef object owner               # its StreamOwner; None once disconnected
    cdef readonly object transport  # None before connection_made and after connection_lost
    cdef object loop
    cdef object error               # first reason for the end, told to the owner
    cdef uint32_t max_frame_bytes
    cdef int fd                     # borrowed from the transport; -1 once it may be closed
    cdef readonly bint is_closing

    # Reading. At most one of the two holds bytes: `kept` what is too small to matter, copied to
    # the front of the shared buffer before the next read; `direct` one large payload, which the
    # kernel writes where it will be parsed.
    cdef ReadBuffer buffer          # shared by all streams of the loop, holds nothing between reads
    cdef char* kept                 # owned, PyMem; NULL when empty
    cdef Py_ssize_t kept_bytes
    cdef bytearray direct           # None unless a large payload is under way
    cdef Py_ssize_t direct_have

    # Writing. Frames of one loop tick are joined here and leave in one system call.
    cdef char* out                  # owned, PyMem; NULL until first used
    cdef Py_ssize_t out_bytes
    cdef Py_ssize_t out_capacity
    cdef Py_ssize_t out_frames
    cdef bint flush_scheduled
    cdef bint transport_holds       # bytes went to the transport, which may still hold some
    cdef bint write_paused          # the transport's high-water mark is reached

    cdef int frame(self, const char* payload, Py_ssize_t size) except -1
    cdef int batch_read(self, Py_ssize_t frames) except -1
    cdef int read_frames(self, const char* data, Py_ssize_t size) except -1
    cdef int direct_read(self, Py_ssize_t nbytes) except -1
    cdef int keep_partial(self, const char* data, Py_ssize_t size) except -1
    cdef int fail(self, object error) except -1
    cdef int append(self, bytes frame) except -1
    cdef int reserve_out(self, Py_ssize_t nbytes) except -1
    cdef int schedule_flush(self) except -1
    cdef int flush_now(self) except -1
    cdef Py_ssize_t send_directly(self)
    cdef int release(self) except -1


cdef class LaneCore(StreamCore):
    cdef bint serving               # past the handshake: frames are answers
    cdef str plugin                 # for messages
    cdef dict future_options
    cdef object read_data           # from an answer to its data; or None, and `request` is unused

    # The table of events in flight: a ring whose `head` is the oldest. A place whose future is
    # done (answered by its deadline, or cancelled by its caller) is abandoned; it stays until its
    # answer comes, so that the answers behind it keep their places.
    cdef list places                # Future, Delivery, or None for an event that nobody waits for
    cdef double* deadlines          # owned, PyMem; parallel to `places`, monotonic seconds
    cdef bint* wants_data           # owned, PyMem; parallel too: whether `request` took the place
    cdef uint64_t head
    cdef uint64_t tail
    cdef uint64_t mask              # capacity - 1; the capacity is a power of two >= window
    cdef Py_ssize_t window
    cdef Py_ssize_t max_abandoned
    cdef Py_ssize_t max_queued
    cdef object waiting             # deque of (frame, future or None, deadline, wants_data)
    cdef bint ping_pong             # the last read held one answer: a lone event leaves at once

    # One timer for everything that has a time.
    cdef object timer
    cdef double timer_at            # monotonic; infinity without a timer
    cdef double stuck_after
    cdef uint64_t head_seen         # where the head was at the last sweep that saw it move …
    cdef double head_seen_at        # … and when

    cdef readonly uint64_t answered
    cdef readonly uint64_t late     # answers to abandoned places
    cdef readonly uint64_t unasked  # frames that no event in flight belongs to

    cdef object new_future(self)
    cdef int submit(self, bytes frame, object future, double deadline, bint wants_data) except -1
    cdef int place(self, bytes frame, object future, double deadline, bint wants_data) except -1
    cdef object data_of(self, const char* payload, Py_ssize_t size)
    cdef int fail_call(self, object future, object error) except -1
    cdef int pump(self) except -1
    cdef int arm(self, double when, double now) except -1
    cdef double expire_places(self, double now, Py_ssize_t* abandoned) except -1
    cdef double expire_waiting(self, double now) except -1
    cdef bint head_is_stuck(self, double now)


cdef class FanOut:
    cdef readonly list deliveries
    cdef Py_ssize_t missing         # deliveries that are waited for
    cdef object complete            # None until `wait`

    cdef int one_less(self) except -1


cdef class Delivery:
    cdef FanOut whole               # None once done
    cdef readonly object answer
    cdef readonly object error
    cdef readonly double ended

    cdef int end(self) except -1
