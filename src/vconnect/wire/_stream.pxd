# cython: language_level=3
"""Fields of a connection. Each pointer says who owns it and until when."""

from libc.stdint cimport uint32_t


cdef enum:
    # What is read at a time from a peer whose frames take as long as usual.
    USUAL_READ = 32 * 1024


cdef class ReadBuffer:
    cdef bytearray store            # never resized: `view` exports it
    cdef object view                # memoryview over all of `store`
    cdef object usual_view          # over the first USUAL_READ bytes of it
    cdef char* data                 # borrowed from `store`, valid as long as this object lives
    cdef Py_ssize_t size
    cdef object loop                # the loop whose streams it serves; set by its first lane
    cdef dict future_options        # the keywords that create a future of that loop; set likewise


cdef class StreamCore:
    cdef object owner               # its StreamOwner; None once disconnected
    cdef readonly object transport  # None before connection_made and after connection_lost
    cdef object loop
    cdef object error               # the first reason for the end, passed to the owner
    cdef uint32_t read_limit        # the longest payload that is read
    cdef str limit_name             # what that is called in errors
    cdef Py_ssize_t max_values      # JSON values of a frame, keys included
    cdef Py_ssize_t max_keys        # keys of one object
    cdef Py_ssize_t read_window     # how many bytes are read at a time
    cdef object read_view           # a memoryview over so many bytes of the shared buffer
    cdef int fd                     # borrowed from the transport; -1 once it may be closed
    cdef readonly bint is_closing

    # Reading. At most one of the two holds bytes: `kept` has a short partial frame, which is copied
    # to the front of the shared buffer before the next read, or what was read before there was a
    # reason to stop; `direct` has one large payload, which the kernel writes to where it will be
    # parsed.
    cdef int holds                  # reasons not to read, see `_charged.pxd`; 0 for none
    cdef ReadBuffer buffer          # shared by all streams of the loop; empty between reads
    cdef char* kept                 # owned, PyMem; NULL when empty
    cdef Py_ssize_t kept_bytes
    cdef bytearray direct           # None unless a large payload is being received
    cdef Py_ssize_t direct_have

    # Writing. Frames of one loop iteration are joined here and sent in one system call.
    cdef char* out                  # owned, PyMem; NULL until first used
    cdef Py_ssize_t out_bytes
    cdef Py_ssize_t out_capacity
    cdef Py_ssize_t out_frames
    cdef bint flush_scheduled
    cdef bint transport_holds       # bytes went to the transport, which may still hold some
    cdef bint write_paused          # the transport's buffer is above its high-water mark

    cdef int set_read_window(self, Py_ssize_t nbytes) except -1
    cdef int process_read(self, Py_ssize_t nbytes) except -1
    cdef double measured_read(self, Py_ssize_t nbytes) except -1.0
    cdef int frame(self, const char* payload, Py_ssize_t size) except -1
    cdef int batch_read(self, Py_ssize_t frames) except -1
    cdef int read_frames(self, const char* data, Py_ssize_t size) except -1
    cdef int direct_read(self, Py_ssize_t nbytes) except -1
    cdef int keep_partial(self, const char* data, Py_ssize_t size) except -1
    cdef int keep(self, const char* data, Py_ssize_t size) except -1
    cdef int fail(self, object error) except -1
    cdef int append(self, bytes frame) except -1
    cdef int reserve_out(self, Py_ssize_t nbytes) except -1
    cdef int schedule_flush(self) except -1
    cdef int flush_now(self) except -1
    cdef Py_ssize_t send_directly(self)
    cdef int release(self) except -1
