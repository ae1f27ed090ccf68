# cython: language_level=3
"""The part of ``_framing`` that the rest of the compiled core uses."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    HEADER = 4
    # What frame_length() returns instead of a length. "Need more" is a value, not an exception.
    NEED_MORE = -1
    EMPTY_FRAME = -2
    FRAME_TOO_LARGE = -3


cdef inline uint32_t read_length(const char* p) noexcept nogil:
    cdef const unsigned char* u = <const unsigned char*>p
    return (<uint32_t>u[0] << 24) | (<uint32_t>u[1] << 16) | (<uint32_t>u[2] << 8) | u[3]


cdef inline void write_length(char* p, uint32_t length) noexcept nogil:
    p[0] = <char>(length >> 24)
    p[1] = <char>(length >> 16)
    p[2] = <char>(length >> 8)
    p[3] = <char>length


cdef inline int64_t frame_length(
    const char* p, Py_ssize_t available, uint32_t limit
) noexcept nogil:
    """Return the payload's length once the whole frame is there; the limit is checked first."""
    cdef uint32_t length
    if available < HEADER:
        return NEED_MORE
    length = read_length(p)
    if length == 0:
        return EMPTY_FRAME
    if length > limit:
        return FRAME_TOO_LARGE
    if available - HEADER < <Py_ssize_t>length:
        return NEED_MORE
    return length


cdef object broken_length(int64_t verdict, const char* p, uint32_t limit, str limit_name)
cdef object incomplete(Py_ssize_t have)
cdef dict parse_object(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys, str where=*
)

cdef object NOT_PLAIN
cdef object plain_data(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys
)


cdef class EventName:
    cdef bytes classic              # {"event":…,"event_type":…,"payload":
    cdef bytes native               # "event":…,"payload":
    cdef bint is_own                # an event of the host itself
    cdef str text                   # the name itself


cdef class Event:
    cdef EventName name
    cdef bytes payload              # JSON
    cdef bytes trace                # "trace":…, or empty
    cdef bytes frame                # the classic frame; None until it is needed

    cdef bytes in_order(self)
    cdef bytes numbered(self, uint64_t number, int64_t deadline_ms, uint32_t hops)


cdef bytes event_frame(EventName name, object payload, Py_ssize_t max_frame_bytes)


cdef class FrameDecoder:
    cdef uint32_t max_frame_bytes
    cdef bytearray kept             # the beginning of an incomplete frame
    cdef object error               # set once the stream is broken for good

    cdef int _cut(self, const char* data, Py_ssize_t size, list payloads) except -1
