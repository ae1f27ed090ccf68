# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part four of the compiled core: the events in flight, and how answers find them.

At this level that is the only difference between the dialects, so each has a table: `InOrder` for
the classic dialect, `ByNumber` for the native one. A table uses its lane as an `AnsweredStream`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_SET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint64_t
from cython cimport final, freelist

from ._clock cimport busy, monotonic
from vconnect._framing cimport NOT_PLAIN, Event, plain_data

cdef extern from "../_scan.h":
    struct vc_address:
        uint64_t id
        int has_status

    void vc_read_address(const char* p, Py_ssize_t size, vc_address* found) nogil
    bint vc_may_have_status(const char* p, Py_ssize_t size) nogil
    bint vc_has_spelled_letter(const char* p, Py_ssize_t size) nogil

from ._charged cimport DEAR_ABOVE, ChargedStream, Paid
from ._latency cimport ANSWERED_WELL, Row

from asyncio import Future, InvalidStateError
from json import loads as lenient_loads

from vconnect.bounds import shown
from vconnect.errors import (
    PluginReplyError,
    PluginTimeoutError,
    RemoteProtocolError,
)

# A deadline further away is sent as this, the largest integer that every JSON parser handles.
cdef double MAX_LEFT_MS = 9007199254740991.0
# A peer has this long to reply to a cancellation before the event counts as abandoned. Seconds.
cdef double CANCEL_GRACE = 1.0

cdef enum:
    # A plugin may send one answer that is not JSON; one that only sends such is broken.
    MAX_BAD_ANSWERS = 10
    # The largest reply whose number is looked for although it is not strict JSON. Reading it that
    # way is slow, and holds the loop.
    LENIENT_BELOW = 64 * 1024
    # So many frames in a row that answer nothing end the connection.
    MAX_UNASKED = 1000

# What a native reply means. Without "data", keys that this version does not know would make the
# reply look like data itself, as in the classic dialect.
cdef tuple REPLY_KEYS = ("status", "flow", "payload")


# Looked up once, instead of by its name for each answer.
cdef object set_result = Future.set_result


@final
# One per event. The free list saves an allocation each, up to a few full windows.
@freelist(256)
cdef class Call:
    """An event that waits for a slot, or that has one in a table by number."""


cdef Call new_call(object message, object future, const Terms* terms):
    cdef Call call = Call.__new__(Call)
    call.message = message
    call.future = future
    call.terms = terms[0]
    return call


@final
cdef class ByteBudget:
    """Bytes that several lanes may hold together; see `LaneCore.serve`.

    Args:
        limit: So many.

    Attributes:
        used: How many they hold now.
    """

    def __init__(self, int64_t limit):
        self.limit = limit
        self.waiters = []

    def room(self, future):
        """Set a future as soon as less is used."""
        self.waiters.append(future)

    cdef int wake(self) except -1:
        waiters, self.waiters = self.waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)
        return 0


cdef Py_ssize_t bytes_of(object message) noexcept:
    """Return the size of a message that waits or is in flight."""
    if type(message) is Event:
        return PyBytes_GET_SIZE((<Event>message).payload)
    return PyBytes_GET_SIZE(<bytes>message)


cdef class AnsweredStream(ChargedStream):
    """A stream whose peer answers events: the part of a lane that its table uses."""

    cdef int count_unasked(self) except -1:
        """Count a frame that answers nothing.

        Raises:
            RemoteProtocolError: There have been too many in a row.
        """
        self.unasked += 1
        self.unasked_in_row += 1
        if self.unasked_in_row < MAX_UNASKED:
            return 0
        raise RemoteProtocolError(
            "bad_reply", f"{self.unasked_in_row} frames in a row answer nothing that was asked"
        )

    cdef int answer(self, object future, object answer, const Terms* terms) except -1:
        """Hand an answer over, and record how long it has taken.

        Raises:
            InvalidStateError: The call was given up before.
        """
        if type(future) is Future:
            set_result(future, answer)
        else:
            future.set_result(answer)
        if terms.row != NULL:
            (<Row>terms.row).record(self.read_at - terms.began)
            # What the answers to other calls mean is decided where they are read.
            if terms.wants_data:
                (<Row>terms.row).outcomes[ANSWERED_WELL] += 1
        return 0

    cdef int fail_call(self, object future, object error, const Terms* terms) except -1:
        if future.done():
            self.late += 1
            return 0
        if terms.row != NULL:
            (<Row>terms.row).record(self.read_at - terms.began)
        future.set_exception(error)
        return 0

    def _timed_out(self):
        return PluginTimeoutError(self.plugin, "no answer by the deadline")

    cdef int bad_answer(self, object future, object error, const Terms* terms) except -1:
        """Fail one event whose answer cannot be read; its frame is sound, so the next one counts.

        Raises:
            RemoteProtocolError: There have been too many in a row.
        """
        self.fail_call(future, PluginReplyError(
            self.plugin, f"its answer cannot be read: {error}", "bad_answer"
        ), terms)
        return self.count_bad(error)

    cdef int count_bad(self, object error) except -1:
        self.bad_answers += 1
        if self.bad_answers < MAX_BAD_ANSWERS:
            return 0
        raise RemoteProtocolError(
            "bad_answer", f"{self.bad_answers} frames in a row cannot be read; the last: {error}"
        )


cdef inline void replace(list items, uint64_t index, object value) noexcept:
    """Do what ``items[index] = value`` does, without the checks that Cython keeps for a list."""
    cdef PyObject* old = PyList_GET_ITEM(items, <Py_ssize_t>index)
    Py_INCREF(value)  # the list steals this one
    PyList_SET_ITEM(items, <Py_ssize_t>index, value)
    Py_DECREF(<object>old)


cdef class InFlight:
    """The events in flight of one lane: where the dialects differ."""

    cdef Py_ssize_t count(self) noexcept:
        """Return the number of occupied slots, including those of abandoned events.

        The host's own events (`own`) take no slot: a full window must not keep a ping waiting.
        """
        return 0

    cdef int add(self, object message, object future, const Terms* terms) except -1:
        """Send an event and, if it will be answered, give it a slot."""
        raise NotImplementedError

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        """Process a frame from the peer."""
        raise NotImplementedError

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
        """Fail what is past its deadline, add to `abandoned`, and return the next deadline."""
        raise NotImplementedError

    cdef object why_stuck(self, double now, bint waiting):
        """Return why the peer appears to be stuck for good, or ``None``.

        Args:
            now: Monotonic seconds.
            waiting: Whether further events wait for a slot.
        """
        raise NotImplementedError

    cdef list take_messages(self):
        """Return the classic frames of all events. Call it before `take_all`."""
        raise NotImplementedError

    cdef list take_all(self):
        """Remove all events and return their futures."""
        raise NotImplementedError


@final
cdef class InOrder(InFlight):
    """The n-th frame answers the n-th event (``docs/wire.md``, "Classic dialect")."""

    def __cinit__(self, AnsweredStream lane not None):
        self.places = []
        self.messages = []
        self.lane = lane

    def __dealloc__(self):
        PyMem_Free(self.terms)

    cdef Py_ssize_t count(self) noexcept:
        return self.tail - self.head

    cdef int add(self, object message, object future, const Terms* terms) except -1:
        cdef uint64_t index
        cdef bytes frame = (<Event>message).in_order() if type(message) is Event else message
        if self.tail - self.head == self.capacity:
            self.grow()
        index = self.tail & self.mask
        replace(self.places, index, future)
        replace(self.messages, index, frame)
        self.terms[index] = terms[0]
        self.tail += 1
        self.lane.hold(PyBytes_GET_SIZE(frame))
        return self.lane.append(frame)

    cdef int grow(self) except -1:
        """Double the ring. Most plugins are idle: their rings stay small or are never created."""
        cdef uint64_t at, capacity = max(<uint64_t>4, 2 * self.capacity)
        cdef list places = [None] * <Py_ssize_t>capacity
        cdef list messages = [None] * <Py_ssize_t>capacity
        cdef Terms* terms = <Terms*>PyMem_Malloc(capacity * sizeof(Terms))
        if terms == NULL:
            raise MemoryError()
        for at in range(self.head, self.tail):
            places[at & (capacity - 1)] = self.places[at & self.mask]
            messages[at & (capacity - 1)] = self.messages[at & self.mask]
            terms[at & (capacity - 1)] = self.terms[at & self.mask]
        PyMem_Free(self.terms)
        self.places = places
        self.messages = messages
        self.terms = terms
        self.capacity = capacity
        self.mask = capacity - 1
        return 0

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        cdef uint64_t index
        cdef double began
        cdef Terms terms
        # Nothing is in flight, so it cannot be mistaken for another answer. It is only counted.
        if self.head == self.tail:
            return self.lane.count_unasked()
        index = self.head & self.mask
        future = self.places[index]
        self.lane.let_go(PyBytes_GET_SIZE(<bytes>self.messages[index]))
        replace(self.places, index, None)
        replace(self.messages, index, None)
        # A copy, because the ring may be moved by the next event, and the slot is free before the
        # future is set, whose callback may send one.
        terms = self.terms[index]
        self.head += 1
        self.lane.answered += 1
        self.lane.unasked_in_row = 0
        if future is None:
            return 0
        if size < DEAR_ABOVE or type(future) is not Paid:
            return self.settle(future, &terms, payload, size)
        began = busy()
        self.settle(future, &terms, payload, size)
        (<Paid>future).account.pay(busy() - began)
        return 0

    cdef int settle(
        self, object future, const Terms* terms, const char* payload, Py_ssize_t size
    ) except -1:
        """Pass an answer to its call."""
        # One `try` for all of it: entering one costs as much as recording the duration.
        try:
            if not terms.wants_data:
                answer = self.lane.parse(payload, size)
            else:
                # The usual answer is cut out of the frame as bytes, without parsing the envelope.
                answer = plain_data(payload, size, self.lane.max_values, self.lane.max_keys)
                if answer is NOT_PLAIN:
                    answer = self.lane.read_data(self.lane.parse(payload, size))
            self.lane.bad_answers = 0
            return self.lane.answer(future, answer, terms)
        except InvalidStateError:
            self.lane.late += 1
            return 0
        except PluginReplyError as error:
            return self.lane.fail_call(future, error, terms)
        except RemoteProtocolError as error:
            return self.lane.bad_answer(future, error, terms)

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
        cdef uint64_t at
        cdef double nearest = INFINITY
        # Events are in the order of their start, not of their deadlines, so all are visited. This
        # runs at most every millisecond, and in practice a few times per `stuck_after`.
        for at in range(self.head, self.tail):
            future = self.places[at & self.mask]
            if future is None:
                continue
            if not future.done():
                if self.terms[at & self.mask].deadline > now:
                    nearest = min(nearest, self.terms[at & self.mask].deadline)
                    continue
                note_late(&self.terms[at & self.mask])
                future.set_exception(self.lane._timed_out())
            # Another plugin has chosen the deadline of what it pays for.
            abandoned[0] += type(future) is not Paid
        return nearest

    cdef object why_stuck(self, double now, bint waiting):
        # Waiting events count too: with a peer that reads nothing, none may ever be in flight.
        cdef bint idle = self.head == self.tail and not waiting
        if idle or self.head != self.head_seen or self.head_seen_at == 0:
            self.head_seen = self.head
            self.head_seen_at = 0 if idle else now
        elif now - self.head_seen_at >= self.lane.stuck_after:
            return f"its oldest event has not been answered for {self.lane.stuck_after:g} s"
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


cdef tuple read_leniently(bytes payload):
    """Return the number of a message that is almost JSON, and whether it is a reply.

    Python's own parser reads what other languages write by mistake: NaN, huge numbers, surrogates.

    Returns:
        The number, or ``None`` if it cannot be read.
    """
    cdef bint is_number
    try:
        message = lenient_loads(payload.decode())
    except (ValueError, RecursionError):
        return None, False
    number = message.get("id") if isinstance(message, dict) else None
    is_number = type(number) is int and 0 < number < 1 << 64
    return (number, "status" in message) if is_number else (None, False)


def number_in(bytes payload not None):
    """Return the number of a call without parsing the rest; ``None`` if it has none."""
    cdef vc_address address
    vc_read_address(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), &address)
    return address.id or None


@final
cdef class ByNumber(InFlight):
    """Replies carry the number of their event and come in any order (``docs/wire.md``, "Native").

    An abandoned event keeps its slot until its reply arrives, so that a peer that ignores
    cancellations does not get ever more work. It counts as abandoned only after `CANCEL_GRACE`. The
    owner gets ``abandoned(number)`` for each abandoned event, and ``called(payload)`` for each
    frame that is not a reply. A call is not parsed here: until its turn comes, its bytes are all
    that the host keeps of it.
    """

    def __cinit__(self, AnsweredStream lane not None):
        self.calls = {}
        self.next_number = 1
        self.lane = lane

    cdef Py_ssize_t count(self) noexcept:
        return len(self.calls) - self.own

    cdef int add(self, object message, object future, const Terms* terms) except -1:
        cdef Event event = <Event?>message
        cdef Call call
        cdef int64_t left_ms
        # A notification has no number, hence no reply and no slot.
        if future is None:
            return self.lane.append(event.numbered(0, 0, terms.hops))
        number = self.next_number
        self.next_number += 1
        call = new_call(event, future, terms)
        if event.name.is_own:
            call.is_own = True
            self.own += 1
        self.calls[number] = call
        self.lane.hold(bytes_of(event))
        # A duration, because the peer does not share our clock; never negative.
        left_ms = <int64_t>max(0.0, min((terms.deadline - monotonic()) * 1000, MAX_LEFT_MS))
        return self.lane.append(event.numbered(number, left_ms, terms.hops))

    cdef int accept(self, const char* payload, Py_ssize_t size) except -1:
        # Both sides number their own calls, so only `status` distinguishes a reply from a call.
        if size >= DEAR_ABOVE:
            return self.accept_large(payload, size)
        if vc_may_have_status(payload, size):
            return self.read(payload, size)
        return self.hand_over(payload, size)

    cdef int accept_large(self, const char* payload, Py_ssize_t size) except -1:
        """Process a frame of which the number is read before the rest is parsed."""
        cdef vc_address address
        cdef object account = None
        cdef double began = busy()
        vc_read_address(payload, size, &address)
        if not (address.has_status and address.id):
            return self.accept_unasked(payload, size, address.has_status, began)
        call = self.calls.get(address.id)
        if call is None:  # an unsolicited reply is counted, and not parsed
            self.lane.charge(began)
            return self.lane.count_unasked()
        if type((<Call>call).future) is Paid:
            account = (<Paid>(<Call>call).future).account
        self.read(payload, size)
        # With a key in disguise, it was not the answer that it had appeared to be.
        if address.id in self.calls:
            return self.lane.charge(began)
        if account is not None:
            account.pay(busy() - began)
        return 0

    cdef int accept_unasked(
        self, const char* payload, Py_ssize_t size, bint has_status, double began
    ) except -1:
        """Process a large frame that appears to answer nothing."""
        if not has_status and not vc_has_spelled_letter(payload, size):
            return self.hand_over(payload, size)
        try:
            return self.read(payload, size)
        finally:
            self.lane.charge(began)

    cdef int read(self, const char* payload, Py_ssize_t size) except -1:
        """Parse a frame that may be a reply."""
        cdef dict message
        cdef Call call
        try:
            message = self.lane.parse(payload, size)
        except RemoteProtocolError as error:
            return self.unread(payload, size, error)
        if "status" not in message:
            return self.hand_over(payload, size)
        call = self.take(self.number_of(message))
        return 0 if call is None else self.settle(call, message)

    cdef int hand_over(self, const char* payload, Py_ssize_t size) except -1:
        """Pass a call on. One that is refused is work that nobody has asked for."""
        cdef double began = busy()
        if not self.lane.owner.called(PyBytes_FromStringAndSize(payload, size)):
            self.lane.charge(began)
        return 0

    cdef object number_of(self, dict message):
        """Return the number of a reply.

        Raises:
            RemoteProtocolError: It has none.
        """
        number = message.get("id")
        if type(number) is not int:
            raise RemoteProtocolError(
                "bad_reply", f"a reply's id is {shown(number)}; expected its event's"
            )
        return number

    cdef Call take(self, object number):
        """Remove an event that is answered, and return it; ``None`` if there is none."""
        cdef Call call = self.calls.pop(number, None)
        # Removed from the table before, for example by a duplicate of this reply.
        if call is None:
            self.lane.count_unasked()
            return None
        self.lane.let_go(bytes_of(call.message))
        self.own -= call.is_own
        self.lane.answered += 1
        self.lane.unasked_in_row = 0
        return call

    cdef int unread(self, const char* payload, Py_ssize_t size, object error) except -1:
        """Fail the event of a reply that is not strict JSON, or refuse the call, by its number."""
        cdef Call call
        cdef vc_address address
        if size <= LENIENT_BELOW:
            number, is_reply = read_leniently(PyBytes_FromStringAndSize(payload, size))
        else:
            vc_read_address(payload, size, &address)
            number, is_reply = address.id or None, address.has_status
        if number is None:
            raise error
        if not is_reply:
            self.lane.owner.unread_call(number, error)
            return self.lane.count_bad(error)
        call = self.take(number)
        return 0 if call is None else self.lane.bad_answer(call.future, error, &call.terms)

    cdef int settle(self, Call call, dict message) except -1:
        if message["status"] not in ("ok", "error"):
            return self.lane.bad_answer(
                call.future,
                f"its status is {shown(message['status'])}; expected 'ok' or 'error'",
                &call.terms,
            )
        self.lane.bad_answers = 0
        if "data" not in message and message["status"] == "ok":
            message = {key: message[key] for key in REPLY_KEYS if key in message}
        try:
            answer = self.lane.read_data(message) if call.terms.wants_data else message
            return self.lane.answer(call.future, answer, &call.terms)
        except InvalidStateError:
            self.lane.late += 1
            return 0
        except PluginReplyError as error:
            return self.lane.fail_call(call.future, error, &call.terms)

    cdef double expire(self, double now, Py_ssize_t* abandoned) except -1:
        cdef Call call
        cdef double nearest = INFINITY
        for number, entry in list(self.calls.items()):
            call = <Call>entry
            if not call.future.done():
                if call.terms.deadline > now:
                    nearest = min(nearest, call.terms.deadline)
                    continue
                note_late(&call.terms)
                call.future.set_exception(self.lane._timed_out())
            if call.is_own:
                # It has no slot to keep; a late reply counts as unasked.
                del self.calls[number]
                self.lane.let_go(bytes_of(call.message))
                self.own -= 1
                continue
            # Here `is_dropped` means that the owner was notified, which happens once.
            if not call.is_dropped:
                call.is_dropped = True
                call.terms.deadline = now + CANCEL_GRACE
                self.lane.owner.abandoned(number)
            # Not before the peer has had time to answer the cancellation: many events may be given
            # up at the same moment.
            if call.terms.deadline <= now:
                abandoned[0] += type(call.future) is not Paid  # as in `InOrder.expire`
            else:
                nearest = min(nearest, call.terms.deadline)
        return nearest

    cdef object why_stuck(self, double now, bint waiting):
        # An event may take its time while others are answered, so only deadlines limit the events.
        # What remains to be noticed is a peer that does not read.
        if self.lane.write_paused and now - self.lane.paused_at >= self.lane.stuck_after:
            return f"it has not read anything for {self.lane.stuck_after:g} s"
        return None

    cdef list take_messages(self):
        return [(<Event>(<Call>call).message).in_order() for call in self.calls.values()]

    cdef list take_all(self):
        lost = [(<Call>call).future for call in self.calls.values()]
        self.calls = {}
        self.own = 0
        return lost
