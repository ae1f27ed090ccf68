# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part one of the compiled core: frames and JSON as bytes, without I/O (``docs/wire.md``).

A frame is a big-endian u32 length and that many bytes of JSON. `FrameDecoder` splits a byte stream
into frames, `encode_frame` builds one, and an `Event` is encoded once for all its recipients.

``_stream`` adds a connection, ``_charged`` makes its peer pay for its work, ``_inflight`` matches
answers with events, and ``_lane`` decides which events are in flight.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, memcpy
from cython cimport final

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    int PyGC_Disable()
    int PyGC_Enable()

cdef extern from "_scan.h":
    struct vc_counts:
        Py_ssize_t openings, commas, colons

    struct vc_survey:
        Py_ssize_t values, keys
        int is_too_deep

    void vc_count(const char* p, Py_ssize_t size, vc_counts* counts) nogil
    bint vc_has_pair(const char* p, Py_ssize_t size, char first, char second) nogil
    void vc_look(const char* p, Py_ssize_t size, int max_levels, vc_survey* found) nogil

from orjson import JSONDecodeError, dumps, loads

from .errors import PayloadError, RemoteProtocolError
from .json_rule import find_problem

HEADER_BYTES = 4
DEFAULT_MAX_FRAME_BYTES = 16 * 1024 * 1024

cdef enum:
    # Below this, a copy to bytes (33 ns) is cheaper than a memoryview (70 ns).
    COPY_BELOW = 1024
    # The shortest number that may exceed the 64-bit range has this many digits.
    SUSPECT_DIGITS = 19
    # The maximum length of the keys of a native event that differ from call to call: the names and
    # three numbers of 20 digits at most.
    MAX_HEAD = 96
    # The maximum nesting of a frame: its own object, and 254 levels in it. The encoder writes no
    # more, and what can be read must also be writable.
    MAX_LEVELS = 255
    # An encoded value of this size is not searched before its values have been looked at,
    LONG_TEXT = 4096
    # if there are no more than this.
    FEW_VALUES = 256
    # Bytes; shorter texts that are kept stay in the encoder's block.
    SMALLEST_COPY = 1024
    # What an error keeps of a payload that is not JSON: enough for a plugin's name.
    HEAD_BYTES = 128


cdef inline bint is_digit(char c) noexcept nogil:
    return c >= b"0" and c <= b"9"


cdef bint may_hold_huge_integer(const char* p, Py_ssize_t size) noexcept nogil:
    """Look for SUSPECT_DIGITS digits in a row; each such run crosses a multiple of that number."""
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
    """Return the offset of an integer beyond 64 bits in valid JSON, or -1.

    orjson would silently convert such a number to a float, which loses digits.
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


cdef bint may_hold_too_much(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys
) noexcept nogil:
    """Return whether a frame may nest too deeply, or have too many values or keys."""
    cdef vc_counts counts
    # So short that it cannot: a level takes two bytes, and so does a value.
    if size <= 2 * MAX_LEVELS:
        return False
    vc_count(p, size, &counts)
    return (
        counts.openings > MAX_LEVELS
        or counts.openings + counts.commas + counts.colons >= max_values
        or counts.colons > max_keys
    )


cdef int check_contents(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys, str where
) except -1:
    """Refuse a frame that would take too long to parse.

    Where no setting has the limits, ``where`` says what they are for.

    Raises:
        RemoteProtocolError: ``bad_json``.
    """
    cdef vc_survey found
    vc_look(p, size, MAX_LEVELS, &found)
    if found.is_too_deep:
        problem = f"is nested too deeply; the limit is {MAX_LEVELS - 1} levels in it"
    elif found.values > max_values:
        problem = (
            f"has {found.values} JSON values; the limit is {max_values} "
            f"({where or 'max_answer_values'})"
        )
    elif found.keys > max_keys:
        problem = (
            f"has an object with {found.keys} keys; the limit is {max_keys} "
            f"({where or 'max_answer_keys'})"
        )
    else:
        return 0
    raise RemoteProtocolError("bad_json", f"payload {problem}")


cdef object broken_length(int64_t verdict, const char* p, uint32_t limit, str limit_name):
    if verdict == EMPTY_FRAME:
        return RemoteProtocolError("empty_frame", "empty frame; a payload has at least 1 byte")
    return RemoteProtocolError(
        "frame_too_large",
        f"frame of {read_length(p)} bytes; the limit is {limit} ({limit_name})",
    )


cdef inline object load(const char* p, Py_ssize_t size):
    if size < COPY_BELOW:
        return loads(PyBytes_FromStringAndSize(p, size))
    return load_large(p, size)


cdef object load_large(const char* p, Py_ssize_t size):
    # JSON has no cycles. Without this, the collector would run once per 700 lists and objects, and
    # only visit those that are just being created.
    cdef bint collects = PyGC_Disable()
    try:
        # The view is released within this call, before the memory is reused for the next read.
        return loads(PyMemoryView_FromMemory(<char*>p, size, PyBUF_READ))
    finally:
        if collects:
            PyGC_Enable()


cdef object parse_json(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys, str where=None
):
    cdef Py_ssize_t huge
    if may_hold_too_much(p, size, max_values, max_keys):
        check_contents(p, size, max_values, max_keys, where)
    try:
        message = load(p, size)
    except JSONDecodeError as error:
        raise RemoteProtocolError(
            "bad_json",
            f"payload is not JSON: {error}",
            PyBytes_FromStringAndSize(p, min(size, <Py_ssize_t>HEAD_BYTES)),
        ) from None
    if may_hold_huge_integer(p, size):
        huge = find_huge_integer(p, size)
        if huge >= 0:
            raise RemoteProtocolError(
                "bad_json", f"payload has an integer beyond 64 bits at byte {huge}"
            )
    return message


cdef dict parse_object(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys, str where=None
):
    message = parse_json(p, size, max_values, max_keys, where)
    if not isinstance(message, dict):
        raise RemoteProtocolError(
            "not_an_object", f"payload is a JSON {type(message).__name__}; expected an object"
        )
    return <dict>message


# What a compact JSON encoder writes around an answer's data: with the keys in the order of the
# documentation, and sorted, as the original SDK does it.
cdef bytes ENVELOPE = b'{"status":"ok","data":'
cdef bytes ENVELOPE_END = b'}'
cdef bytes SORTED_ENVELOPE = b'{"data":'
cdef bytes SORTED_ENVELOPE_END = b',"status":"ok"}'

cdef object NOT_PLAIN = object()


cdef inline bint surrounded(
    const char* p, Py_ssize_t size, bytes before, bytes after
) noexcept:
    cdef Py_ssize_t first = PyBytes_GET_SIZE(before), last = PyBytes_GET_SIZE(after)
    return (
        size > first + last
        and memcmp(p, PyBytes_AS_STRING(before), first) == 0
        and memcmp(p + size - last, PyBytes_AS_STRING(after), last) == 0
    )


cdef object plain_data(
    const char* p, Py_ssize_t size, Py_ssize_t max_values, Py_ssize_t max_keys
):
    """Return the data of an answer that consists only of status and data, else NOT_PLAIN.

    If everything between the two ends is one JSON value, the envelope contains nothing else, so it
    need not be parsed. Everything unusual is parsed the normal way, which also reports errors.
    """
    cdef Py_ssize_t first, last
    if surrounded(p, size, ENVELOPE, ENVELOPE_END):
        first, last = PyBytes_GET_SIZE(ENVELOPE), PyBytes_GET_SIZE(ENVELOPE_END)
    elif surrounded(p, size, SORTED_ENVELOPE, SORTED_ENVELOPE_END):
        first, last = PyBytes_GET_SIZE(SORTED_ENVELOPE), PyBytes_GET_SIZE(SORTED_ENVELOPE_END)
    else:
        return NOT_PLAIN
    # The checks that `parse_json` makes: the normal way reports the place.
    if may_hold_huge_integer(p, size) or may_hold_too_much(p, size, max_values, max_keys):
        return NOT_PLAIN
    try:
        return load(p + first, size - first - last)
    except JSONDecodeError:
        return NOT_PLAIN


def parse_message(payload, Py_ssize_t max_values=PY_SSIZE_T_MAX, str limit_name=None):
    """Parse one payload as strictly as the stream does.

    Args:
        payload: ``bytes``, ``bytearray`` or a contiguous ``memoryview``.
        max_values: The maximum number of JSON values, keys included.
        limit_name: What that limit is for, in errors.

    Returns:
        The JSON value.

    Raises:
        RemoteProtocolError: ``bad_json``, with the position: not JSON, not UTF-8, NaN, nested too
            deeply, too many values, or an integer beyond 64 bits.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        return parse_json(
            <const char*>view.buf, view.len, max_values, PY_SSIZE_T_MAX, limit_name
        )
    finally:
        PyBuffer_Release(&view)


cdef bint has_null(const char* p, Py_ssize_t size) noexcept nogil:
    """Look for ``null``, in a string or not."""
    cdef const char* end = p + size
    cdef const char* at = p + 1
    # Most texts have no "nu" anywhere, which takes one look. In the others the rarest letter is
    # looked for, by the C library.
    if not vc_has_pair(p, size, b"n", b"u"):
        return False
    while end - at > 2:
        at = <const char*>memchr(at, b"u", end - at - 2)
        if at == NULL:
            return False
        if (at - 1)[0] == b"n" and at[1] == b"l" and at[2] == b"l":
            return True
        at += 1
    return False


cdef int look_for_null(object value, Py_ssize_t* budget):
    """Return 1 if a NaN or an infinity is in the value, 0 if not, -1 if that is unknown.

    It visits at most `budget` values, and only of the types that most payloads consist of.
    """
    cdef int verdict
    cdef double number
    budget[0] -= 1
    if budget[0] < 0:
        return -1
    kind = type(value)
    if kind is float:
        number = value
        return number != number or number - number != 0.0
    if kind is str or kind is int or kind is bool or value is None:
        return 0
    if kind is dict:
        for item in (<dict>value).values():
            verdict = look_for_null(item, budget)
            if verdict:
                return verdict
        return 0
    if kind is list or kind is tuple:
        for item in value:
            verdict = look_for_null(item, budget)
            if verdict:
                return verdict
        return 0
    return -1


cdef bint became_null(object value, bytes encoded):
    """Return whether a NaN or an infinity was encoded as ``null``, which means something else.

    A short text is searched for ``null``. A long one with few values, such as a picture, is not:
    looking at the values is faster.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(encoded), budget = FEW_VALUES
    cdef int verdict = -1
    if size >= LONG_TEXT:
        verdict = look_for_null(value, &budget)
    if verdict < 0 and has_null(PyBytes_AS_STRING(encoded), size):
        budget = PY_SSIZE_T_MAX
        verdict = look_for_null(value, &budget)
        if verdict < 0:  # there are values of other types, such as dataclasses
            return bool(find_problem(value))
    return verdict == 1


cdef bytes to_json(object message):
    try:
        encoded = dumps(message)
    except TypeError as error:
        words = find_problem(message) or str(error)
        raise PayloadError(f"payload cannot be encoded as JSON: {words}") from None
    if became_null(message, encoded):
        raise PayloadError(f"payload cannot be encoded as JSON: {find_problem(message)}")
    return encoded


cdef bytes kept_json(object message):
    """Encode what is kept for longer than a moment.

    The encoder does not give back what its buffer has too much: 96 KB of empty lists occupy 8 MB.
    """
    cdef bytes encoded = to_json(message)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(encoded)
    # Below that, its buffer is hardly larger than the block.
    if size < SMALLEST_COPY:
        return encoded
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(encoded), size)


cdef inline int check_size(Py_ssize_t size, Py_ssize_t limit, str limit_name) except -1:
    return 0 if size <= limit else refuse_size(size, limit, limit_name)


cdef int refuse_size(Py_ssize_t size, Py_ssize_t limit, str limit_name) except -1:
    raise PayloadError(f"payload of {size} bytes; the limit is {limit} ({limit_name})")


cdef bytes new_frame(Py_ssize_t size):
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEADER + size)
    write_length(PyBytes_AS_STRING(frame), <uint32_t>size)
    return frame


def encode_frame(
    message,
    Py_ssize_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES,
    str limit_name not None="max_frame_bytes",
):
    """Encode a message as one frame: header and JSON, ready to send.

    Args:
        message: Any JSON value.
        max_frame_bytes: The longest payload.
        limit_name: What that limit is called in the error.

    Raises:
        PayloadError: The message is not JSON, or larger than that.
    """
    cdef bytes payload = to_json(message)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    check_size(size, max_frame_bytes, limit_name)
    cdef bytes frame = new_frame(size)
    memcpy(PyBytes_AS_STRING(frame) + HEADER, PyBytes_AS_STRING(payload), size)
    return frame


@final
cdef class EventName:
    """An event's name as it appears in the frames of each dialect, encoded once.

    Args:
        classic: The start of a JSON object, up to the key and colon before the payload.
        native: The same without the opening brace, because keys that differ from call to call come
            first.
        is_own: Whether it is an event of the host itself, which does not wait for the window.
        text: The name itself; empty if nothing is counted by it.
    """

    def __init__(
        self, bytes classic not None, bytes native not None, bint is_own=False, str text not None=""
    ):
        self.classic = classic
        self.native = native
        self.is_own = is_own
        self.text = text


@final
cdef class Event:
    """An event and its payload, encoded once for any number of connections.

    Args:
        name: The event's name.
        payload: Any JSON value.
        max_frame_bytes: The maximum payload of a frame; checked here for both dialects.
        trace: A W3C ``traceparent`` for native plugins, or ``None``.

    Raises:
        PayloadError: The payload is not JSON, or too large.
    """

    def __init__(self, EventName name not None, payload,
                 Py_ssize_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES, str trace=None):
        cdef Py_ssize_t size
        self.name = name
        self.payload = kept_json(payload)
        self.trace = b"" if trace is None else b'"trace":' + dumps(trace) + b","
        size = max(
            PyBytes_GET_SIZE(name.classic),
            PyBytes_GET_SIZE(name.native) + PyBytes_GET_SIZE(self.trace) + MAX_HEAD,
        )
        check_size(size + PyBytes_GET_SIZE(self.payload) + 1, max_frame_bytes, "max_frame_bytes")

    @property
    def classic_frame(self):
        """The frame for every classic connection."""
        return self.in_order()

    def decoded(self):
        """Return the payload as it is sent, as new objects."""
        return loads(self.payload)

    def native_frame(self, uint64_t number, int64_t deadline_ms, uint32_t hops=0):
        """Return the frame for one native connection; for a notification ``number`` is 0."""
        return self.numbered(number, deadline_ms, hops)

    cdef bytes in_order(self):
        """Return the frame for every classic connection, built on first use."""
        if self.frame is None:
            self.frame = joined(b"", self.name.classic, self.payload)
        return self.frame

    cdef bytes numbered(self, uint64_t number, int64_t deadline_ms, uint32_t hops):
        """Return the frame for one native connection; for a notification `number` is 0."""
        cdef char head[MAX_HEAD]
        cdef int size = 1
        head[0] = b"{"
        if number:
            size += snprintf(
                head + size, MAX_HEAD - size, b'"id":%llu,"deadline_ms":%lld,',
                <unsigned long long>number, <long long>deadline_ms,
            )
        if hops:
            size += snprintf(head + size, MAX_HEAD - size, b'"hops":%u,', <unsigned int>hops)
        return joined(head[:size] + self.trace, self.name.native, self.payload)


cdef bytes event_frame(EventName name, object payload, Py_ssize_t max_frame_bytes):
    """Return the classic frame of an event for one connection only."""
    cdef bytes value = to_json(payload)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name.classic) + PyBytes_GET_SIZE(value) + 1
    check_size(size, max_frame_bytes, "max_frame_bytes")
    return joined(b"", name.classic, value)


cdef bytes joined(bytes head, bytes prefix, bytes value):
    """Return a frame of ``head`` + ``prefix`` + ``value`` + ``}``, copying each once."""
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head)
    cdef Py_ssize_t prefix_size = PyBytes_GET_SIZE(prefix)
    cdef Py_ssize_t value_size = PyBytes_GET_SIZE(value)
    cdef bytes frame = new_frame(head_size + prefix_size + value_size + 1)
    cdef char* p = PyBytes_AS_STRING(frame) + HEADER
    memcpy(p, PyBytes_AS_STRING(head), head_size)
    memcpy(p + head_size, PyBytes_AS_STRING(prefix), prefix_size)
    memcpy(p + head_size + prefix_size, PyBytes_AS_STRING(value), value_size)
    p[head_size + prefix_size + value_size] = b"}"
    return frame


@final
cdef class FrameDecoder:
    """Splits a byte stream into payloads, without I/O.

    Feed it whatever arrives, split in any way. After an error, every later call raises the same
    error again.

    Args:
        max_frame_bytes: A longer frame is refused at its header, before anything is allocated.
    """

    def __init__(self, uint32_t max_frame_bytes=DEFAULT_MAX_FRAME_BYTES):
        self.max_frame_bytes = max_frame_bytes
        self.kept = bytearray()
        self.error = None

    def feed(self, data):
        """Process bytes, and return the payloads that they complete.

        Args:
            data: ``bytes``, ``bytearray`` or a contiguous ``memoryview``; not kept.

        Returns:
            The payloads as ``bytes``, in order; often none.

        Raises:
            RemoteProtocolError: ``empty_frame`` or ``frame_too_large``. Complete frames before the
                invalid one are lost.
        """
        cdef Py_buffer view
        if self.error is not None:
            raise self.error
        if self.kept:
            # Rare with small frames. The parts are joined, and split once a frame is complete.
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
            self.error = broken_length(
                length, data + position, self.max_frame_bytes, "max_frame_bytes"
            )
            raise self.error
        if position < size:
            self.kept = PyByteArray_FromStringAndSize(<char*>data + position, size - position)
        return 0

    def finish(self):
        """Report that there are no more bytes.

        Raises:
            RemoteProtocolError: ``incomplete``: the stream ended inside a frame.
        """
        if self.error is not None:
            raise self.error
        if self.kept:
            raise incomplete(len(self.kept))

    @property
    def buffered_bytes(self):
        """The number of bytes of an incomplete frame."""
        return len(self.kept)


cdef object incomplete(Py_ssize_t have):
    return RemoteProtocolError(
        "incomplete", f"the stream ended inside a frame, after {have} bytes of it"
    )
