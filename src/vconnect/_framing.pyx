# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The compiled core: frames, and the lane that carries events.

A frame is a big-endian u32 length and that many bytes of JSON (``docs/wire.md``). Three things
live here, each on top of the one before:

* `FrameDecoder`, `encode_frame`, `encode_event`: bytes to frames and back, without I/O.
* `FrameStream`: one connection as an ``asyncio.BufferedProtocol``. Reads into a buffer that all
  connections of a loop share; joins the writes of one loop tick.
* `Lane`: a stream whose peer answers every event in order: the table of events in flight.

Policy, files and processes are elsewhere. State is advanced before anything is called that may
raise, close or come back.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy
from cython cimport final

from asyncio import BufferedProtocol, InvalidStateError, get_running_loop
from collections import deque
from time import monotonic

from orjson import JSONDecodeError, dumps, loads

from .errors import (
    PayloadError,
    PluginOverloadedError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
)

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0  /* macOS; CPython ignores SIGPIPE for the whole process */
    #endif
    static inline Py_ssize_t vc_send(int fd, const char *data, Py_ssize_t size) {
        Py_ssize_t sent;
        do {
            sent = send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
        return sent;
    }
    """
    Py_ssize_t vc_send(int fd, const char* data, Py_ssize_t size) nogil

HEADER_BYTES = 4
DEFAULT_MAX_FRAME_BYTES = 16 * 1024 * 1024

cdef enum:
    HEADER = 4
    # What frame_length() says in place of a length. "Need more" is a value, not an exception.
    NEED_MORE = -1
    EMPTY_FRAME = -2
    FRAME_TOO_LARGE = -3
    # Below this a bytes copy (33 ns) is cheaper than a memoryview (70 ns); they cross near here.
    COPY_BELOW = 1024
    # A partial frame above this is read straight into its own memory; below, it is copied to the
    # front of the shared buffer, which lets one read also bring the frames behind it.
    DIRECT_ABOVE = 16 * 1024
    # A frame above this is handed to the transport as it is, in place of being joined.
    JOIN_BELOW = 64 * 1024
    # Frames joined in one tick leave early once there are this many bytes of them.
    FLUSH_ABOVE = 256 * 1024
    # The shortest number that may leave the 64-bit range has this many digits.
    SUSPECT_DIGITS = 19

# Deadlines that lie closer together than this share one wake-up. Seconds.
cdef double COARSE = 0.001


# --- bytes -----------------------------------------------------------------------------------

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
    """The payload's length once the whole frame is there, checked before anything else is."""
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


cdef inline bint is_digit(char c) noexcept nogil:
    return c >= b"0" and c <= b"9"


cdef bint may_hold_huge_integer(const char* p, Py_ssize_t size) noexcept nogil:
    """Look for a run of SUSPECT_DIGITS digits; every such run crosses a multiple of its length."""
    cdef Py_ssize_t probe = SUSPECT_DIGITS - 1, first, last
    while probe < size:
        if is_digit(p[probe]):
            first = probe
            while first > 0 and is_digit(p[first - 1]):
                first -= 1
            last = probe
            while last + 1 < size and is_digit(p[last + 1]):
                last += 1
            if last - first + 1 >= SUSPECT_DIGITS:
                return True
        probe += SUSPECT_DIGITS
    return False


cdef bint out_of_range(const char* digits, Py_ssize_t count, bint negative) noexcept nogil:
    if negative:
        return count > 19 or (count == 19 and memcmp(digits, b"9223372036854775808", 19) > 0)
    return count > 20 or (count == 20 and memcmp(digits, b"18446744073709551615", 20) > 0)


cdef Py_ssize_t find_huge_integer(const char* p, Py_ssize_t size) noexcept nogil:
    """The offset of an integer beyond 64 bits in valid JSON, or -1.

    orjson turns such a number into a float and loses digits without a word.
    """
    cdef Py_ssize_t i = 0, start
    cdef bint integral, negative
    while i < size:
        if p[i] == b'"':
            i += 1
            while i < size and p[i] != b'"':
                i += 2 if p[i] == b"\\" else 1
            i += 1
        elif p[i] == b"-" or is_digit(p[i]):
            negative = p[i] == b"-"
            i += negative
            start = i
            while i < size and is_digit(p[i]):
                i += 1
            integral = i == size or not (p[i] == b"." or p[i] == b"e" or p[i] == b"E")
            if integral and out_of_range(p + start, i - start, negative):
                return start
            while i < size and (is_digit(p[i]) or p[i] in b".eE+-"):
                i += 1
        else:
            i += 1
    return -1


cdef object broken_length(int64_t verdict, const char* p, uint32_t limit):
    if verdict == EMPTY_FRAME:
        return RemoteProtocolError("empty_frame", "frame of length 0; a payload has 1 byte or more")
    return RemoteProtocolError(
        "frame_too_large",
        f"frame of {read_length(p)} bytes; the limit is {limit} (max_frame_bytes)",
    )


cdef object parse_json(const char* p, Py_ssize_t size):
    cdef Py_ssize_t huge
    cdef object text
    if size < COPY_BELOW:
        text = PyBytes_FromStringAndSize(p, size)
    else:
        # The view dies with this call, before the memory is written again.
        text = PyMemoryView_FromMemory(<char*>p, size, PyBUF_READ)
    try:
        message = loads(text)
    except JSONDecodeError as error:
        raise RemoteProtocolError("bad_json", f"payload is not JSON: {error}") from None
    if may_hold_huge_integer(p, size):
        huge = find_huge_integer(p, size)
        if huge >= 0:
            raise RemoteProtocolError(
                "bad_json", f"payload has an integer beyond 64 bits at byte {huge}"
            )
    return message


cdef dict parse_object(const char* p, Py_ssize_t size):
    message = parse_json(p, size)
    if not isinstance(message, dict):
        raise RemoteProtocolError(
            "not_an_object", f"payload is a JSON {type(message).__name__}; expected an object"
        )
    return <dict>message


def parse_message(payload):
    """Parse one payload as strictly as the stream does.

    Args:
        payload: ``bytes``, ``bytearray`` or a contiguous ``memoryview``.

    Returns:
        The JSON value.

    Raises:
        RemoteProtocolError: ``bad_json``, with the place: not JSON, not UTF-8, NaN, nested too
            deep, or an integer beyond 64 bits.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        return parse_json(<const char*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


cdef bytes to_json(object message):
    try:
        return dumps(message)
    except TypeError as error:
        raise PayloadError(f"payload cannot be written as JSON: {error}") from None


cdef bytes new_frame(Py_ssize_t size, Py_ssize_t limit):
    if size > limit:
        raise PayloadError(
            f"payload of {size} bytes; a frame may carry {limit} (max_frame_bytes)"
        )
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEADER + size)
    write_length(PyBytes_AS_STRING(frame), <uint32_t>size)
    return frame


def encode_frame(message, Py_ssize_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES):
    """Write a message as one frame: header and JSON, ready to send.

    Raises:
        PayloadError: It is not JSON, or larger than ``max_frame_bytes``.
    """
    cdef bytes payload = to_json(message)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef bytes frame = new_frame(size, max_frame_bytes)
    memcpy(PyBytes_AS_STRING(frame) + HEADER, PyBytes_AS_STRING(payload), size)
    return frame


def encode_event(
    bytes prefix not None, payload, Py_ssize_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES
):
    """Write ``prefix`` + payload as JSON + ``}`` as one frame.

    An event's name is encoded once, into the prefix; the payload is copied once. The frame serves
    every connection that speaks the dialect of the prefix.

    Args:
        prefix: An open JSON object that ends in a key and a colon, without its closing brace.
        payload: The last value.
        max_frame_bytes: The limit for the payload of the frame.

    Raises:
        PayloadError: It is not JSON, or larger than ``max_frame_bytes``.
    """
    cdef bytes value = to_json(payload)
    cdef Py_ssize_t prefix_size = PyBytes_GET_SIZE(prefix)
    cdef Py_ssize_t value_size = PyBytes_GET_SIZE(value)
    cdef bytes frame = new_frame(prefix_size + value_size + 1, max_frame_bytes)
    cdef char* p = PyBytes_AS_STRING(frame) + HEADER
    memcpy(p, PyBytes_AS_STRING(prefix), prefix_size)
    memcpy(p + prefix_size, PyBytes_AS_STRING(value), value_size)
    p[prefix_size + value_size] = b"}"
    return frame


@final
cdef class FrameDecoder:
    """Cut a byte stream into payloads, without I/O.

    Feed it whatever arrives, in any split. After an error it stays broken: every later call raises
    the same error again.

    Args:
        max_frame_bytes: A longer frame is refused at its header, before anything is allocated.
    """

    def __init__(self, uint32_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES):
        self.max_frame_bytes = max_frame_bytes
        self.kept = bytearray()
        self.error = None

    def feed(self, data):
        """Take bytes and return the payloads that they complete.

        Args:
            data: ``bytes``, ``bytearray`` or a contiguous ``memoryview``; not kept.

        Returns:
            The payloads, as ``bytes``, in order; often none.

        Raises:
            RemoteProtocolError: ``empty_frame`` or ``frame_too_large``. Whole frames before the
                broken one are lost: nobody can tell what they belonged to.
        """
        cdef Py_buffer view
        if self.error is not None:
            raise self.error
        if self.kept:
            # Rare in a stream of small frames: the parts are joined, and cut once all are there.
            self.kept += data
            if frame_length(
                PyByteArray_AS_STRING(self.kept), len(self.kept), self.max_frame_bytes
            ) == NEED_MORE:
                return []
            data, self.kept = self.kept, bytearray()
        cdef list payloads = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._cut(<const char*>view.buf, view.len, payloads)
        finally:
            PyBuffer_Release(&view)
        return payloads

    cdef int _cut(self, const char* data, Py_ssize_t size, list payloads) except -1:
        cdef Py_ssize_t position = 0
        cdef int64_t length
        while True:
            length = frame_length(data + position, size - position, self.max_frame_bytes)
            if length < 0:
                break
            payloads.append(PyBytes_FromStringAndSize(data + position + HEADER, <Py_ssize_t>length))
            position += HEADER + <Py_ssize_t>length
        if length != NEED_MORE:
            self.error = broken_length(length, data + position, self.max_frame_bytes)
            raise self.error
        if position < size:
            self.kept = PyByteArray_FromStringAndSize(<char*>data + position, size - position)
        return 0

    def finish(self):
        """Say that no more bytes come.

        Raises:
            RemoteProtocolError: ``incomplete``: the stream ended inside a frame.
        """
        if self.error is not None:
            raise self.error
        if self.kept:
            raise incomplete(len(self.kept))

    @property
    def buffered_bytes(self):
        """Bytes of a frame whose rest has not come."""
        return len(self.kept)


cdef object incomplete(Py_ssize_t have):
    return RemoteProtocolError(
        "incomplete", f"the stream ended inside a frame, after {have} bytes of it"
    )


# --- one connection --------------------------------------------------------------------------

@final
cdef class ReadBuffer:
    """Memory that all streams of one event loop read into.

    A loop reads one connection at a time and hands the bytes over before it reads the next, so one
    buffer serves thousands of connections, and an idle one costs nothing.

    Args:
        size_bytes: The most that one read brings.
    """

    def __init__(self, Py_ssize_t size_bytes=256 * 1024):
        if size_bytes < 4 * DIRECT_ABOVE:
            raise ValueError(f"size_bytes is {size_bytes}; at least {4 * DIRECT_ABOVE} are needed")
        self.store = PyByteArray_FromStringAndSize(NULL, size_bytes)
        self.view = memoryview(self.store)
        self.data = PyByteArray_AS_STRING(self.store)
        self.size = size_bytes


cdef class StreamCore:
    """One connection that carries JSON objects in frames: an ``asyncio.BufferedProtocol``.

    Its owner hears ``connected(stream)`` once, ``message(object)`` for each frame, and at the end
    ``disconnected(error)`` once, where the error says why unless the peer simply closed. An owner
    may send, close or abort from inside any of these.

    Args:
        owner: Who hears of it.
        buffer: The loop's shared read buffer.
        max_frame_bytes: A longer frame ends the connection.
    """

    def __init__(self, owner, ReadBuffer buffer not None,
                 uint32_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES):
        self.owner = owner
        self.buffer = buffer
        self.max_frame_bytes = max_frame_bytes
        self.fd = -1

    def __dealloc__(self):
        PyMem_Free(self.kept)
        PyMem_Free(self.out)

    # What the event loop calls.

    def connection_made(self, transport):
        self.loop = get_running_loop()
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()
        self.owner.connected(self)

    def get_buffer(self, Py_ssize_t sizehint):
        if self.direct is not None:
            return memoryview(self.direct)[self.direct_have:]
        if self.kept_bytes == 0:
            return self.buffer.view
        memcpy(self.buffer.data, self.kept, self.kept_bytes)
        return self.buffer.view[self.kept_bytes:]

    def buffer_updated(self, Py_ssize_t nbytes):
        cdef Py_ssize_t size
        if self.is_closing:
            return
        try:
            if self.direct is not None:
                self.direct_read(nbytes)
                return
            size = self.kept_bytes + nbytes
            PyMem_Free(self.kept)
            self.kept = NULL
            self.kept_bytes = 0
            self.read_frames(self.buffer.data, size)
        except RemoteProtocolError as error:
            self.fail(error)

    def eof_received(self):
        cdef Py_ssize_t have = self.kept_bytes
        if self.direct is not None:
            have = HEADER + self.direct_have
        if have and self.error is None:
            self.error = incomplete(have)
        return False

    def connection_lost(self, exc):
        if self.owner is None:
            return
        if self.error is None:
            self.error = exc
        owner, self.owner = self.owner, None
        self.release()
        owner.disconnected(self.error)

    def pause_writing(self):
        self.write_paused = True

    def resume_writing(self):
        self.write_paused = False

    # Reading.

    cdef int read_frames(self, const char* data, Py_ssize_t size) except -1:
        """Hand over every whole frame and keep the rest."""
        cdef Py_ssize_t position = 0, frames = 0
        cdef int64_t length
        while True:
            length = frame_length(data + position, size - position, self.max_frame_bytes)
            if length < 0:
                break
            frames += 1
            self.frame(data + position + HEADER, <Py_ssize_t>length)
            if self.is_closing:
                return 0
            position += HEADER + <Py_ssize_t>length
        if length != NEED_MORE:
            raise broken_length(length, data + position, self.max_frame_bytes)
        if position < size:
            self.keep_partial(data + position, size - position)
        return self.batch_read(frames)

    cdef int keep_partial(self, const char* data, Py_ssize_t size) except -1:
        """Keep the beginning of a frame until its rest comes."""
        cdef uint32_t length
        if size >= HEADER:
            length = read_length(data)
            if length > DIRECT_ABOVE:
                # Not zeroed: pages that the peer never fills are never touched.
                self.direct = PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>length)
                self.direct_have = size - HEADER
                memcpy(PyByteArray_AS_STRING(self.direct), data + HEADER, self.direct_have)
                return 0
        self.kept = <char*>PyMem_Malloc(size)
        if self.kept == NULL:
            raise MemoryError()
        memcpy(self.kept, data, size)
        self.kept_bytes = size
        return 0

    cdef int direct_read(self, Py_ssize_t nbytes) except -1:
        cdef bytearray payload = self.direct
        self.direct_have += nbytes
        if self.direct_have < len(payload):
            return 0
        self.direct = None
        self.frame(PyByteArray_AS_STRING(payload), len(payload))
        return 0 if self.is_closing else self.batch_read(1)

    cdef int frame(self, const char* payload, Py_ssize_t size) except -1:
        self.owner.message(parse_object(payload, size))
        return 0

    cdef int batch_read(self, Py_ssize_t frames) except -1:
        """Hear that a read with ``frames`` whole frames was handed over."""
        return 0

    cdef int fail(self, object error) except -1:
        """End the connection because the peer broke the wire."""
        if self.error is None:
            self.error = error
        broken = getattr(self.owner, "broken", None)
        if broken is not None:
            broken(error)
        self.abort(error)
        return 0

    # Writing.

    def send(self, bytes frame not None):
        """Send a frame, together with all others of this loop tick.

        On a stream that is closing the frame is dropped: its peer is gone.
        """
        if not self.is_closing and self.transport is not None:
            self.append(frame)

    cdef int append(self, bytes frame) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        if size >= JOIN_BELOW:
            self.flush_now()
            self.transport_holds = True
            self.transport.write(frame)
            return 0
        self.reserve_out(size)
        memcpy(self.out + self.out_bytes, PyBytes_AS_STRING(frame), size)
        self.out_bytes += size
        if self.out_bytes >= FLUSH_ABOVE:
            return self.flush_now()
        return self.schedule_flush()

    cdef int reserve_out(self, Py_ssize_t nbytes) except -1:
        cdef Py_ssize_t wanted = self.out_bytes + nbytes
        cdef Py_ssize_t capacity = self.out_capacity
        cdef char* grown
        if wanted <= capacity:
            return 0
        capacity = max(capacity, 512)
        while capacity < wanted:
            capacity *= 2
        grown = <char*>PyMem_Realloc(self.out, capacity)
        if grown == NULL:
            raise MemoryError()
        self.out = grown
        self.out_capacity = capacity
        return 0

    cdef int schedule_flush(self) except -1:
        if not self.flush_scheduled:
            self.flush_scheduled = True
            self.loop.call_soon(self.flush)
        return 0

    def flush(self):
        """Write now what `send` has gathered."""
        self.flush_scheduled = False
        self.flush_now()

    cdef int flush_now(self) except -1:
        cdef Py_ssize_t sent, size = self.out_bytes
        if size == 0 or self.is_closing:
            return 0
        sent = self.send_directly()
        self.out_bytes = 0
        if sent < size:
            # The transport knows how to wait, and how to report a peer that is gone.
            self.transport_holds = True
            self.transport.write(PyBytes_FromStringAndSize(self.out + sent, size - sent))
        if self.out_capacity > JOIN_BELOW:
            PyMem_Free(self.out)
            self.out = NULL
            self.out_capacity = 0
        return 0

    cdef Py_ssize_t send_directly(self):
        """Give the kernel what it takes at once, past the transport, and say how much that was.

        Legal only while the transport holds nothing, or bytes would overtake each other. The GIL
        is kept: the call never blocks, and giving it up could cost a thread switch (5 ms).
        """
        cdef Py_ssize_t sent
        if self.transport_holds:
            if self.transport.get_write_buffer_size():
                return 0
            self.transport_holds = False
        sent = vc_send(self.fd, self.out, self.out_bytes)
        return sent if sent > 0 else 0

    # Ending.

    def close(self):
        """Send what is gathered, then close. Returns at once; `disconnected` follows."""
        if self.is_closing or self.transport is None:
            return
        self.flush_now()
        self.is_closing = True
        self.fd = -1
        self.transport.close()

    def abort(self, error=None):
        """Close without waiting for anything. Returns at once; `disconnected` follows.

        Args:
            error: Why, for the owner; the first reason given wins.
        """
        if self.error is None:
            self.error = error
        if self.transport is None:
            return
        self.is_closing = True
        self.fd = -1
        self.transport.abort()

    cdef int release(self) except -1:
        self.is_closing = True
        self.fd = -1
        self.transport = None
        self.direct = None
        PyMem_Free(self.kept)
        self.kept = NULL
        self.kept_bytes = 0
        PyMem_Free(self.out)
        self.out = NULL
        self.out_bytes = self.out_capacity = 0
        return 0

    @property
    def unsent_bytes(self):
        """Bytes that the kernel has not taken yet."""
        if self.transport is None:
            return 0
        return self.out_bytes + self.transport.get_write_buffer_size()


# --- events in flight ------------------------------------------------------------------------

cdef class LaneCore(StreamCore):
    """A stream whose peer answers every event, in order (``docs/wire.md``, "Classic dialect").

    Until `serve` it is a plain `FrameStream`, for the handshake. From then on the n-th frame is
    the answer to the n-th event. Up to ``window`` events are in flight, up to ``max_queued`` wait
    behind them. A call that times out or is cancelled leaves its place: the answer to it is
    consumed and dropped when it comes, and never reaches another call.
    """

    def __cinit__(self):
        self.timer_at = INFINITY

    def __dealloc__(self):
        PyMem_Free(self.deadlines)

    def serve(self, owner, str plugin not None, *, Py_ssize_t window, Py_ssize_t max_queued,
              Py_ssize_t max_abandoned, double stuck_after):
        """Begin to take frames as answers.

        Args:
            owner: Who hears of the end from now on.
            plugin: The plugin's name, for messages.
            window: The most events in flight.
            max_queued: The most events that wait for a place in the window.
            max_abandoned: With this many abandoned places the connection is given up.
            stuck_after: So is one whose oldest event stays unanswered for this long. Seconds.
        """
        cdef uint64_t capacity = 1
        while capacity < <uint64_t>window:
            capacity *= 2
        self.deadlines = <double*>PyMem_Malloc(capacity * sizeof(double))
        if self.deadlines == NULL:
            raise MemoryError()
        self.places = [None] * <Py_ssize_t>capacity
        self.mask = capacity - 1
        self.owner = owner
        self.plugin = plugin
        self.window = window
        self.max_queued = max_queued
        self.max_abandoned = max_abandoned
        self.stuck_after = stuck_after
        self.waiting = deque()
        self.create_future = self.loop.create_future
        self.serving = True

    def call(self, bytes frame not None, double deadline):
        """Send an event and return a future for its answer.

        Cancelling the future abandons the call; the lane stays in step.

        Args:
            frame: The event, encoded.
            deadline: When to give up, in seconds of ``time.monotonic()``.

        Returns:
            A future of the answer, an undigested JSON object. It fails with `PluginTimeoutError`
            or `PluginUnavailableError`.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are waiting already.
        """
        future = self.create_future() if self.create_future is not None else None
        self.submit(frame, future, deadline)
        return future

    def tell(self, bytes frame not None):
        """Send an event whose answer nobody waits for; it takes a place all the same.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are waiting already.
        """
        self.submit(frame, None, INFINITY)

    cdef int submit(self, bytes frame, object future, double deadline) except -1:
        if self.is_closing or not self.serving:
            raise PluginUnavailableError(self.plugin or "?", "its connection has ended")
        if self.waiting or self.tail - self.head >= <uint64_t>self.window or self.write_paused:
            if len(self.waiting) >= self.max_queued:
                raise PluginOverloadedError(
                    self.plugin,
                    f"{self.max_queued} events wait for it already (max_queued); "
                    "it answers more slowly than it is asked",
                )
            self.waiting.append((frame, future, deadline))
        else:
            self.place(frame, future, deadline)
            if self.ping_pong and self.tail - self.head == 1:
                # Nothing else is under way: waiting for the end of the tick only adds latency.
                self.flush_now()
        if deadline < self.timer_at or self.timer is None:
            self.arm(deadline, monotonic())
        return 0

    cdef int place(self, bytes frame, object future, double deadline) except -1:
        cdef uint64_t index = self.tail & self.mask
        self.places[index] = future
        self.deadlines[index] = deadline
        self.tail += 1
        return self.append(frame)

    cdef int frame(self, const char* payload, Py_ssize_t size) except -1:
        cdef uint64_t index
        if not self.serving:
            return StreamCore.frame(self, payload, size)
        if self.head == self.tail:
            self.unasked += 1
            return 0
        index = self.head & self.mask
        future = self.places[index]
        self.places[index] = None
        self.head += 1
        self.answered += 1
        if future is None:
            return 0
        try:
            answer = parse_object(payload, size)
        except RemoteProtocolError as error:
            if not future.done():
                future.set_exception(
                    PluginUnavailableError(self.plugin, f"its answer broke the wire: {error}")
                )
            raise
        try:
            future.set_result(answer)
        except InvalidStateError:
            self.late += 1
        return 0

    cdef int batch_read(self, Py_ssize_t frames) except -1:
        self.ping_pong = frames <= 1
        return self.pump() if self.waiting else 0

    cdef int pump(self) except -1:
        """Move waiting events into the window; those that were given up meanwhile never leave."""
        while self.waiting and self.tail - self.head < <uint64_t>self.window:
            if self.write_paused or self.is_closing:
                return 0
            frame, future, deadline = self.waiting.popleft()
            if future is None or not future.done():
                self.place(frame, future, deadline)
        return 0

    def resume_writing(self):
        self.write_paused = False
        if self.serving:
            self.pump()

    # Time. One timer serves every deadline and the watch over a stuck head.

    cdef int arm(self, double when, double now) except -1:
        when = max(min(when, now + self.stuck_after / 4), now + COARSE)
        if self.timer is not None:
            self.timer.cancel()
        self.timer_at = when
        self.timer = self.loop.call_later(when - now, self.sweep)
        return 0

    def sweep(self):
        """Give up what is past its deadline; end a connection that has stopped answering.

        Also while it is closing: the last bytes may wait for a peer that never reads them.
        """
        cdef double now = monotonic(), nearest
        cdef Py_ssize_t abandoned = 0
        self.timer = None
        self.timer_at = INFINITY
        if not self.serving:
            return
        nearest = min(self.expire_places(now, &abandoned), self.expire_waiting(now))
        if abandoned >= self.max_abandoned:
            self.abort(self._stuck(f"{abandoned} events in flight were given up unanswered"))
        elif self.head_is_stuck(now):
            self.abort(self._stuck(f"its oldest event is unanswered for {self.stuck_after:g} s"))
        elif self.head != self.tail or self.waiting:
            self.arm(nearest, now)

    cdef double expire_places(self, double now, Py_ssize_t* abandoned) except -1:
        cdef uint64_t at
        cdef double nearest = INFINITY
        for at in range(self.head, self.tail):
            future = self.places[at & self.mask]
            if future is None:
                continue
            if not future.done():
                if self.deadlines[at & self.mask] > now:
                    nearest = min(nearest, self.deadlines[at & self.mask])
                    continue
                future.set_exception(PluginTimeoutError(self.plugin, "no answer by the deadline"))
            abandoned[0] += 1
        return nearest

    cdef double expire_waiting(self, double now) except -1:
        cdef double nearest = INFINITY, deadline
        if not self.waiting:
            return nearest
        kept = deque()
        for entry in self.waiting:
            future, deadline = entry[1], entry[2]
            if future is not None and future.done():
                continue
            if deadline <= now:
                future.set_exception(
                    PluginTimeoutError(self.plugin, "not even sent by the deadline")
                )
                continue
            nearest = min(nearest, deadline)
            kept.append(entry)
        self.waiting = kept
        return nearest

    cdef bint head_is_stuck(self, double now):
        # What waits counts: a peer that reads nothing at all never has an event in flight.
        cdef bint idle = self.head == self.tail and not self.waiting
        if idle or self.head != self.head_seen or self.head_seen_at == 0:
            self.head_seen = self.head
            self.head_seen_at = 0 if idle else now
            return False
        return now - self.head_seen_at >= self.stuck_after

    def _stuck(self, reason):
        return PluginUnavailableError(self.plugin, f"{reason}; its connection is given up")

    # Ending.

    cdef int release(self) except -1:
        if self.serving:
            self._fail_all()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return StreamCore.release(self)

    def _fail_all(self):
        """Fail every call that has no answer, now: none waits for its deadline."""
        reason = str(self.error) if self.error is not None else "its connection ended"
        lost = [self.places[at & self.mask] for at in range(self.head, self.tail)]
        lost += [entry[1] for entry in self.waiting]
        self.head = self.tail
        self.places = []
        self.waiting = deque()
        self.serving = False
        for future in lost:
            if future is not None and not future.done():
                future.set_exception(PluginUnavailableError(
                    self.plugin, f"{reason} before it answered"
                ))

    @property
    def in_flight(self):
        """Events sent and not yet answered, abandoned ones included."""
        return self.tail - self.head

    @property
    def queued(self):
        """Events that wait for a place in the window."""
        return len(self.waiting) if self.waiting is not None else 0


# asyncio chooses the buffered way by `isinstance`, and a compiled class cannot derive from a
# Python one; these two can.

class FrameStream(StreamCore, BufferedProtocol):
    __slots__ = ()
    __doc__ = StreamCore.__doc__


class Lane(LaneCore, BufferedProtocol):
    __slots__ = ()
    __doc__ = LaneCore.__doc__
