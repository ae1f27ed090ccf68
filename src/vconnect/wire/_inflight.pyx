# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The compiled core's third part: the events in flight, and how answers find them.

That is all that the dialects differ in at this level, so each has a table: `InOrder` is the classic
one, `ByNumber` the native one. A table knows of its lane what an `AnsweredStream` has.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint32_t, uint64_t
from cython cimport final, freelist

from ._clock cimport monotonic
from vconnect._framing cimport NOT_PLAIN, Event, parse_object, plain_data
from ._stream cimport StreamCore

from asyncio import InvalidStateError
from reprlib import repr as shown  # a peer decides neither how long nor how deep it is

from vconnect.errors import (
    PluginReplyError,
    PluginTimeoutError,
    PluginUnavailableError,
    RemoteProtocolError,
)

# A deadline further away is told as this, the largest number that every JSON reader takes.
cdef double MAX_LEFT_MS = 9007199254740991.0


@final
@freelist(256)
cdef class Call:
    """An event that waits for its place, or has one in a table by number."""


cdef Call new_call(
    object message, object future, double deadline, bint wants_data, uint32_t hops
):
    cdef Call call = Call.__new__(Call)
    call.message = message
    call.future = future
    call.deadline = deadline
    call.wants_data = wants_data
    call.hops = hops
    return call


cdef class AnsweredStream(StreamCore):
    """A stream whose peer answers events: what a table knows of its lane."""

    cdef int fail_call(self, object future, object error) except -1:
        if future.done():
            self.late += 1
        else:
            future.set_exception(error)
        return 0

    def _timed_out(self):
        return PluginTimeoutError(self.plugin, "no answer by the deadline")

    def _broken(self, error):
        return PluginUnavailableError(self.plugin, f"its answer broke the wire: {error}")


cdef class InFlight:
    """The events in flight of one lane; what the dialects differ in."""

    cdef Py_ssize_t count(self):
        """Events that take a place in the window, abandoned ones included."""
        raise NotImplementedError

    cdef int add(
        self, object message, object future, double deadline, bint wants_data, uint32_t hops
    ) except -1:
        """Send an event and, if it will be answered, give it a place."""
        raise NotImplementedError

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        """Take a frame of the peer's."""
        raise NotImplementedError

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
        """Fail what is past its deadline; count the abandoned, and return the next deadline."""
        raise NotImplementedError

    cdef object why_stuck(self, double now, bint waiting):
        """Say in words why the peer seems to have stopped for good, or return ``None``.

        Args:
            now: Monotonic seconds.
            waiting: Whether other events wait for a place in the window.
        """
        raise NotImplementedError

    cdef list take_messages(self):
        """Return the classic frames of all events, before `take_all`."""
        raise NotImplementedError

    cdef list take_all(self):
        """Forget all events and return their futures."""
        raise NotImplementedError


@final
cdef class InOrder(InFlight):
    """The n-th frame answers the n-th event (``docs/wire.md``, "Classic dialect")."""

    def __cinit__(self, AnsweredStream lane not None):
        self.places = []
        self.messages = []
        self.lane = lane

    def __dealloc__(self):
        PyMem_Free(self.deadlines)
        PyMem_Free(self.wants_data)

    cdef Py_ssize_t count(self):
        return self.tail - self.head

    cdef int add(
        self, object message, object future, double deadline, bint wants_data, uint32_t hops
    ) except -1:
        cdef uint64_t index
        cdef bytes frame = (<Event>message).in_order() if type(message) is Event else message
        if self.tail - self.head == self.capacity:
            self.grow()
        index = self.tail & self.mask
        self.places[index] = future
        self.messages[index] = frame
        self.deadlines[index] = deadline
        self.wants_data[index] = wants_data
        self.tail += 1
        return self.lane.append(frame)

    cdef int grow(self) except -1:
        """Double the ring. Most plugins are idle: their rings stay small, or never are."""
        cdef uint64_t at, capacity = max(<uint64_t>4, 2 * self.capacity)
        cdef list places = [None] * <Py_ssize_t>capacity
        cdef list messages = [None] * <Py_ssize_t>capacity
        cdef double* deadlines = <double*>PyMem_Malloc(capacity * sizeof(double))
        cdef bint* wants_data = <bint*>PyMem_Malloc(capacity * sizeof(bint))
        if deadlines == NULL or wants_data == NULL:
            PyMem_Free(deadlines)
            PyMem_Free(wants_data)
            raise MemoryError()
        for at in range(self.head, self.tail):
            places[at & (capacity - 1)] = self.places[at & self.mask]
            messages[at & (capacity - 1)] = self.messages[at & self.mask]
            deadlines[at & (capacity - 1)] = self.deadlines[at & self.mask]
            wants_data[at & (capacity - 1)] = self.wants_data[at & self.mask]
        PyMem_Free(self.deadlines)
        PyMem_Free(self.wants_data)
        self.places = places
        self.messages = messages
        self.deadlines = deadlines
        self.wants_data = wants_data
        self.capacity = capacity
        self.mask = capacity - 1
        return 0

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        cdef uint64_t index
        if self.head == self.tail:
            self.lane.unasked += 1
            return 0
        index = self.head & self.mask
        future = self.places[index]
        self.places[index] = None
        self.messages[index] = None
        self.head += 1
        self.lane.answered += 1
        if future is None:
            return 0
        return self.settle(future, self.wants_data[index], payload, size)

    cdef int settle(
        self, object future, bint wants_data, const char* payload, Py_ssize_t size
    ) except -1:
        """Give an answer to its call."""
        try:
            if not wants_data:
                answer = parse_object(payload, size)
            else:
                answer = plain_data(payload, size)
                if answer is NOT_PLAIN:
                    answer = self.lane.read_data(parse_object(payload, size))
        except PluginReplyError as error:
            return self.lane.fail_call(future, error)
        except RemoteProtocolError as error:
            self.lane.fail_call(future, self.lane._broken(error))
            raise
        try:
            future.set_result(answer)
        except InvalidStateError:
            self.lane.late += 1
        return 0

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
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
                future.set_exception(self.lane._timed_out())
            abandoned[0] += 1
        return nearest

    cdef object why_stuck(self, double now, bint waiting):
        # What waits counts: a peer that reads nothing at all never has an event in flight.
        cdef bint idle = self.head == self.tail and not waiting
        if idle or self.head != self.head_seen or self.head_seen_at == 0:
            self.head_seen = self.head
            self.head_seen_at = 0 if idle else now
        elif now - self.head_seen_at >= self.lane.stuck_after:
            return f"its oldest event is unanswered for {self.lane.stuck_after:g} s"
        return None

    cdef list take_messages(self):
        cdef uint64_t at
        return [self.messages[at & self.mask] for at in range(self.head, self.tail)]

    cdef list take_all(self):
        cdef uint64_t at
        lost = [self.places[at & self.mask] for at in range(self.head, self.tail)]
        self.head = self.tail
        self.places = self.messages = []
        self.capacity = 0
        return lost


@final
cdef class ByNumber(InFlight):
    """Replies carry the number of their event, and come in any order (``docs/wire.md``, "Native").

    An abandoned event keeps its place until its reply comes, so that a peer which ignores that it
    was cancelled is not given ever more work. The owner hears ``abandoned(number)`` of each, and
    ``called(message)`` of what is no reply.
    """

    def __cinit__(self, AnsweredStream lane not None):
        self.calls = {}
        self.next_number = 1
        self.lane = lane

    cdef Py_ssize_t count(self):
        return len(self.calls)

    cdef int add(
        self, object message, object future, double deadline, bint wants_data, uint32_t hops
    ) except -1:
        cdef Event event = <Event?>message
        cdef int64_t left_ms
        if future is None:
            return self.lane.append(event.numbered(0, 0, hops))
        number = self.next_number
        self.next_number += 1
        self.calls[number] = new_call(event, future, deadline, wants_data, hops)
        left_ms = <int64_t>max(0.0, min((deadline - monotonic()) * 1000, MAX_LEFT_MS))
        return self.lane.append(event.numbered(number, left_ms, hops))

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        cdef dict message = parse_object(payload, size)
        cdef Call call
        if "status" not in message:
            self.lane.owner.called(message)
            return 0
        number = message.get("id")
        if type(number) is not int:
            raise RemoteProtocolError(
                "bad_reply", f"a reply's id is {shown(number)}; expected its event's"
            )
        call = self.calls.pop(number, None)
        if call is None:
            self.lane.unasked += 1
            return 0
        self.lane.answered += 1
        return self.settle(call, message)

    cdef int settle(self, Call call, dict message) except -1:
        if message["status"] not in ("ok", "error"):
            error = RemoteProtocolError(
                "bad_reply",
                f"a reply's status is {shown(message['status'])}; expected 'ok' or 'error'",
            )
            self.lane.fail_call(call.future, self.lane._broken(error))
            raise error
        try:
            call.future.set_result(self.lane.read_data(message) if call.wants_data else message)
        except PluginReplyError as error:
            self.lane.fail_call(call.future, error)
        except InvalidStateError:
            self.lane.late += 1
        return 0

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
        cdef Call call
        cdef double nearest = INFINITY
        for number, entry in list(self.calls.items()):
            call = <Call>entry
            if not call.future.done():
                if call.deadline > now:
                    nearest = min(nearest, call.deadline)
                    continue
                call.future.set_exception(self.lane._timed_out())
            abandoned[0] += 1
            if not call.is_dropped:
                call.is_dropped = True
                self.lane.owner.abandoned(number)
        return nearest

    cdef object why_stuck(self, double now, bint waiting):
        # An event may take its time while others are answered: here only the deadlines count, and
        # whether the peer reads at all.
        if self.lane.write_paused and now - self.lane.paused_at >= self.lane.stuck_after:
            return f"it has read nothing for {self.lane.stuck_after:g} s"
        return None

    cdef list take_messages(self):
        return [(<Event>(<Call>call).message).in_order() for call in self.calls.values()]

    cdef list take_all(self):
        lost = [(<Call>call).future for call in self.calls.values()]
        self.calls = {}
        return lost
