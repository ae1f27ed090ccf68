# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part two of the compiled core: one connection as an ``asyncio.BufferedProtocol``.

It reads into a buffer that all connections of a loop share, splits what was read into frames, and
joins the writes of one loop iteration. Policy, files and processes are elsewhere. State is advanced
before anything is called that may raise, close the stream or call back.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
from cython cimport final

from ._clock cimport monotonic
from vconnect._framing cimport (
    HEADER,
    NEED_MORE,
    broken_length,
    frame_length,
    incomplete,
    parse_object,
    read_length,
)

from asyncio import BufferedProtocol, get_running_loop

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES
from vconnect.errors import RemoteProtocolError

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

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

cdef enum:
    # The rest of a partial frame above this is read directly into its own memory. A shorter one is
    # copied to the front of the shared buffer, so that one read also brings the frames behind it.
    DIRECT_ABOVE = 16 * 1024
    # A frame of this size or more is passed to the transport as it is, instead of being copied.
    JOIN_BELOW = 64 * 1024
    # Frames joined in one loop iteration are sent early once they have this many bytes,
    FLUSH_ABOVE = 256 * 1024
    # or once there are this many: the peer works on them while we write the next ones. With 64
    # events in flight on two cores this took a quarter off each request.
    FLUSH_FRAMES = 32
    # The least that is read at a time, and the least for which the clock is looked at.
    LEAST_READ = 2 * 1024
    MEASURED_READ = 4 * 1024

# After a read that takes longer, less is read at a time; after one that takes less, more. Seconds.
cdef double LONG_READ = 0.00025
cdef double SHORT_READ = 0.0001


@final
cdef class ReadBuffer:
    """Memory that all streams of one event loop read into.

    A loop reads one connection at a time and processes the bytes before it reads the next. So one
    buffer serves thousands of connections, and an idle connection needs none.

    Args:
        size_bytes: The maximum number of bytes per read.
    """

    def __init__(self, Py_ssize_t size_bytes=256 * 1024):
        if size_bytes < 4 * DIRECT_ABOVE:
            raise ValueError(f"size_bytes is {size_bytes}; expected at least {4 * DIRECT_ABOVE}")
        self.store = PyByteArray_FromStringAndSize(NULL, size_bytes)
        self.view = memoryview(self.store)
        self.usual_view = self.view[:USUAL_READ]
        self.data = PyByteArray_AS_STRING(self.store)
        self.size = size_bytes


cdef class StreamCore:
    """One connection that carries JSON objects in frames: an ``asyncio.BufferedProtocol``.

    It calls its owner's ``connected(stream)`` once, ``message(object)`` for each frame,
    ``broken(error)`` if the peer violates the protocol, and finally ``disconnected(error)`` once,
    where the error is the reason, or ``None`` if the peer simply closed. The owner may send, close
    or abort in any of these.

    Args:
        owner: A `StreamOwner`.
        buffer: The loop's shared read buffer.
        max_frame_bytes: A longer frame ends the connection.
        limit_name: What that limit is called in errors.
        max_values: The maximum number of JSON values in a frame, keys included.
    """

    def __init__(self, owner, ReadBuffer buffer not None,
                 uint32_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES,
                 str limit_name not None="max_frame_bytes",
                 Py_ssize_t max_values=PY_SSIZE_T_MAX):
        self.owner = owner
        self.buffer = buffer
        self.read_limit = max_frame_bytes
        self.limit_name = limit_name
        self.max_values = max_values
        self.max_keys = PY_SSIZE_T_MAX
        self.set_read_window(buffer.size)
        self.fd = -1

    def __dealloc__(self):
        PyMem_Free(self.kept)
        PyMem_Free(self.out)

    # Called by the event loop.

    def connection_made(self, transport):
        self.loop = get_running_loop()
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()
        self.owner.connected(self)

    def get_buffer(self, Py_ssize_t sizehint):
        if self.direct is not None:
            return memoryview(self.direct)[self.direct_have:]
        if self.kept_bytes == 0:
            return self.read_view
        memcpy(self.buffer.data, self.kept, self.kept_bytes)
        return self.buffer.view[self.kept_bytes:self.kept_bytes + self.read_window]

    def buffer_updated(self, Py_ssize_t nbytes):
        self.process_read(nbytes)

    def eof_received(self):
        cdef Py_ssize_t have = self.kept_bytes
        # The header of a direct payload was read and is not kept, but it was part of the frame.
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

    cdef int set_read_window(self, Py_ssize_t nbytes) except -1:
        """Read at most so many bytes at a time."""
        cdef ReadBuffer buffer = self.buffer
        self.read_window = min(nbytes, buffer.size)
        # The view is kept: a read is more frequent than a change of the window.
        if self.read_window == buffer.size:
            self.read_view = buffer.view
        elif self.read_window == USUAL_READ:
            self.read_view = buffer.usual_view
        else:
            self.read_view = buffer.view[:self.read_window]
        return 0

    cdef int process_read(self, Py_ssize_t nbytes) except -1:
        """Process what was read into the buffer that `get_buffer` returned."""
        cdef Py_ssize_t size
        if self.is_closing:
            return 0
        try:
            if self.direct is not None:
                return self.direct_read(nbytes)
            # Freed first: the frames may close the stream, which frees it too.
            size = self.kept_bytes + nbytes
            PyMem_Free(self.kept)
            self.kept = NULL
            self.kept_bytes = 0
            return self.read_frames(self.buffer.data, size)
        except RemoteProtocolError as error:
            return self.fail(error)

    cdef double measured_read(self, Py_ssize_t nbytes) except -1.0:
        """Do what `process_read` does, adapt the window, and return the seconds that it took.

        A read is as long as its frames are quick: others wait for the end of each.
        """
        cdef double began, took
        # So little is quick, and a look at the clock is not nothing beside it. A read that fills
        # its window is measured even then: there is more, and the window may have to grow.
        if (
            self.kept_bytes + nbytes < MEASURED_READ
            and nbytes < self.read_window
            and self.direct is None
        ):
            StreamCore.process_read(self, nbytes)
            return 0.0
        began = monotonic()
        StreamCore.process_read(self, nbytes)
        took = monotonic() - began
        if took > LONG_READ:
            self.set_read_window(max(<Py_ssize_t>LEAST_READ, self.read_window // 4))
        elif nbytes >= self.read_window and took < SHORT_READ:
            self.set_read_window(2 * self.read_window)
        return took

    cdef int read_frames(self, const char* data, Py_ssize_t size) except -1:
        """Process every complete frame and keep the rest."""
        cdef Py_ssize_t position = 0, frames = 0
        cdef int64_t length
        while True:
            length = frame_length(data + position, size - position, self.read_limit)
            if length < 0:
                break
            frames += 1
            self.frame(data + position + HEADER, <Py_ssize_t>length)
            if self.is_closing:
                return 0
            position += HEADER + <Py_ssize_t>length
            if self.holds:
                self.keep(data + position, size - position)
                return self.batch_read(frames)
        if length != NEED_MORE:
            raise broken_length(length, data + position, self.read_limit, self.limit_name)
        if position < size:
            self.keep_partial(data + position, size - position)
        return self.batch_read(frames)

    cdef int keep_partial(self, const char* data, Py_ssize_t size) except -1:
        """Keep the beginning of a frame until the rest arrives."""
        cdef uint32_t length
        if size >= HEADER:
            length = read_length(data)
            if length > DIRECT_ABOVE:
                # Not zeroed: pages that the peer never fills are never touched.
                self.direct = PyByteArray_FromStringAndSize(NULL, <Py_ssize_t>length)
                self.direct_have = size - HEADER
                memcpy(PyByteArray_AS_STRING(self.direct), data + HEADER, self.direct_have)
                return 0
        return self.keep(data, size)

    cdef int keep(self, const char* data, Py_ssize_t size) except -1:
        """Keep bytes until there are more, or until they may be processed."""
        if size == 0:
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
        self.owner.message(
            parse_object(payload, size, self.max_values, self.max_keys, self.limit_name)
        )
        return 0

    cdef int batch_read(self, Py_ssize_t frames) except -1:
        """Called after a read with ``frames`` complete frames has been processed."""
        return 0

    cdef int fail(self, object error) except -1:
        """End the connection because the peer violated the protocol."""
        if self.error is None:
            self.error = error
        self.owner.broken(error)
        self.abort(error)
        return 0

    # Writing.

    def send(self, bytes frame not None):
        """Send a frame, together with all others of this loop iteration.

        On a stream that is closing the frame is dropped, because its peer is gone.
        """
        if not self.is_closing and self.transport is not None:
            self.append(frame)

    cdef int append(self, bytes frame) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        if size >= JOIN_BELOW:
            # In order: what was joined before goes out before it.
            self.flush_now()
            self.transport_holds = True
            self.transport.write(frame)
            return 0
        self.reserve_out(size)
        memcpy(self.out + self.out_bytes, PyBytes_AS_STRING(frame), size)
        self.out_bytes += size
        self.out_frames += 1
        if self.out_frames >= FLUSH_FRAMES or self.out_bytes >= FLUSH_ABOVE:
            return self.flush_now()
        return self.schedule_flush()

    cdef int reserve_out(self, Py_ssize_t nbytes) except -1:
        cdef Py_ssize_t wanted = self.out_bytes + nbytes
        cdef Py_ssize_t capacity = self.out_capacity
        cdef char* grown
        if wanted <= capacity:
            return 0
        capacity = max(capacity, 64)  # enough for the acknowledgment, and for a lane without events
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
        """Write what `send` has collected."""
        self.flush_scheduled = False
        self.flush_now()

    cdef int flush_now(self) except -1:
        cdef Py_ssize_t sent, size = self.out_bytes
        if size == 0 or self.is_closing:
            return 0
        sent = self.send_directly()
        self.out_bytes = self.out_frames = 0
        if sent < size:
            # The transport can wait until the socket is writable, and report a peer that is gone.
            self.transport_holds = True
            self.transport.write(PyBytes_FromStringAndSize(self.out + sent, size - sent))
        # After a burst the memory is returned: thousands of idle connections must stay small.
        if self.out_capacity > JOIN_BELOW:
            PyMem_Free(self.out)
            self.out = NULL
            self.out_capacity = 0
        return 0

    cdef Py_ssize_t send_directly(self):
        """Send what the kernel accepts at once, bypassing the transport; return how much it was.

        Allowed only while the transport holds nothing, or bytes would overtake each other. The GIL
        is kept: the call never blocks, and releasing it could cost a thread switch (5 ms).
        """
        cdef Py_ssize_t sent
        if self.transport_holds:
            if self.transport.get_write_buffer_size():
                return 0
            self.transport_holds = False
        sent = vc_send(self.fd, self.out, self.out_bytes)
        # On an error nothing was sent; the transport will get the same error, and report it.
        return sent if sent > 0 else 0

    # Ending.

    def close(self):
        """Send what is collected, then close. Returns at once; `disconnected` follows."""
        if self.is_closing or self.transport is None:
            return
        self.flush_now()
        self.is_closing = True
        self.fd = -1
        self.transport.close()

    def abort(self, error=None):
        """Close without waiting for anything. Returns at once; `disconnected` follows.

        Args:
            error: The reason, for the owner; the first reason given is kept.
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
        self.out_bytes = self.out_capacity = self.out_frames = 0
        return 0

    @property
    def unsent_bytes(self):
        """The number of bytes that the kernel has not accepted yet."""
        if self.transport is None:
            return 0
        return self.out_bytes + self.transport.get_write_buffer_size()


# asyncio recognizes a BufferedProtocol by `isinstance`, and a compiled class cannot derive from a
# Python class. This one can.

class FrameStream(StreamCore, BufferedProtocol):
    __slots__ = ()
    __doc__ = StreamCore.__doc__
