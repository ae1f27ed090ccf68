# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part six of the compiled core: the lane, a connection with its events in flight.

A lane is a stream with a window, a queue in front of it, and one timer. How answers find their
events depends on the dialect, see the tables in ``_inflight``.
"""

# The idea: many events share one connection, and each write and each wake-up serves many of them.
#
# An event gets one of `window` slots and is sent. If all are taken, or the transport's buffer is
# full, it waits in a queue of limited length, which it leaves in order. So a slow plugin holds a
# bounded amount of memory, and its callers are refused early instead of timing out late.
#
# A slot is freed by its answer only, never by a timeout or a cancellation. The classic dialect
# matches answers by position: if an abandoned event left its slot, every later answer would go to
# the wrong caller. The native dialect matches by number, but a slot that is freed early would give
# ever more work to a plugin that ignores cancellations. So an abandoned slot stays, its late answer
# is dropped, and a plugin that has too many of them, or none answered for `stuck_after`, is
# disconnected. The host's own events (a ping, a stop) take no slot and never wait for one: what
# watches a plugin must reach it when its window is full.
#
# Deadlines cost nothing while they are met. One timer per lane is set for the nearest of them;
# when it fires, `sweep` looks at all events, fails what is late, and sets the next timer.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject, PyObject_Call
from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from ._clock cimport busy, monotonic
from ._fan_out cimport Delivery
from vconnect._framing cimport Event, EventName, event_frame
from ._stream cimport USUAL_READ
from ._charged cimport REPLIES_UNREAD, paid
from ._inflight cimport (
    AnsweredStream,
    ByNumber,
    ByteBudget,
    Call,
    InOrder,
    Terms,
    bytes_of,
    new_call,
    note_late,
)
from ._latency cimport Row, Rows

from asyncio import BufferedProtocol, Future
from collections import deque

from vconnect.errors import PluginTimeoutError, RemoteProtocolError
from vconnect.wire import failures

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    # Parsing a call of this size or more is charged. Below, reading the clock would cost as much.
    DEAR_CALL = 1024

# Deadlines closer together than this share one wake-up. Seconds.
cdef double COARSE = 0.001
# A read that takes longer is told to the owner. Seconds.
cdef double HELD = 0.1
# After a read that takes longer than this many seconds, other connections have their turn.
cdef double LONG_TURN = 0.0005
# What a lane may hold however much others hold.
cdef int64_t FAIR_BYTES = 1024 * 1024


cdef inline bint is_own(object message) noexcept:
    """Return whether this is an event of the host itself, which only the native dialect has."""
    return type(message) is Event and (<Event>message).name.is_own


# --- the lane --------------------------------------------------------------------------------

cdef class LaneCore(AnsweredStream):
    """A stream whose peer answers events.

    Until `serve` it is a plain `FrameStream`, for the handshake. From then on up to ``window``
    events are in flight and up to ``max_queued`` wait behind them. A call that times out or is
    cancelled keeps its slot: its answer is dropped on arrival, and never reaches another call.
    """

    def __cinit__(self):
        self.timer_at = INFINITY
        self.lost = []
        self.end_reason = "its connection ended"

    def serve(self, owner, str plugin not None, *, Py_ssize_t window, Py_ssize_t max_queued,
              Py_ssize_t max_abandoned, double stuck_after, read_data=None, bint native=False,
              Py_ssize_t max_notified=1024, int64_t max_queued_bytes=INT64_MAX,
              ByteBudget total=None, max_frame_bytes=None, max_answer_bytes=None,
              Py_ssize_t max_values=PY_SSIZE_T_MAX, Py_ssize_t max_keys=PY_SSIZE_T_MAX,
              Rows rows=None):
        """Treat frames as answers from now on.

        Args:
            owner: Is notified of the end; in the native dialect also of calls.
            plugin: The plugin's name, for error messages.
            window: The maximum number of events in flight.
            max_queued: The maximum number of events that wait for a slot in the window.
            max_abandoned: This many abandoned events end the connection.
            stuck_after: A peer that stops answering for this many seconds is disconnected.
            read_data: Extracts the data of an answer for `request`, or raises `PluginReplyError`.
            native: Whether answers are matched by number.
            max_notified: How many of the waiting events may be notifications.
            max_queued_bytes: How many bytes the events that wait or are in flight may have.
            total: What they may have together with those of other lanes.
            max_frame_bytes: The longest payload that is sent; by default as that of the stream.
            max_answer_bytes: The longest payload that is read; by default it stays as it is.
            max_values: The maximum number of JSON values in a frame that is read, keys included.
            max_keys: The maximum number of keys of an object in it.
            rows: Where durations are recorded; by default nowhere.
        """
        self.owner = owner
        self.plugin = plugin
        self.window = window
        self.max_queued = max_queued
        self.max_notified = max_notified
        self.max_published = max(1, max_notified // 4)
        self.max_abandoned = max_abandoned
        self.stuck_after = stuck_after
        self.max_queued_bytes = max_queued_bytes
        self.total = ByteBudget(INT64_MAX) if total is None else total
        self.max_frame_bytes = self.read_limit if max_frame_bytes is None else max_frame_bytes
        if max_answer_bytes is not None:
            self.read_limit = max_answer_bytes
            self.limit_name = "max_answer_bytes"
        self.max_values = max_values
        self.max_keys = max_keys
        self.set_read_window(USUAL_READ)
        self.read_data = read_data
        self.rows = rows
        # The keyword of a future is made once per loop. Without it a future looks for the running
        # loop, which costs a system call on Python 3.11.
        if self.buffer.loop is not self.loop:
            self.buffer.loop = self.loop
            self.buffer.future_options = {"loop": self.loop}
        self.future_options = self.buffer.future_options
        self.table = ByNumber(self) if native else InOrder(self)
        self.serving = True

    def call(self, message not None, double deadline, uint32_t hops=0, double began=0):
        """Send an event and return a future for its answer.

        Cancelling the future abandons the call without affecting others.

        Args:
            message: An `Event`; in the classic dialect alternatively its frame.
            deadline: When to give up, in seconds of ``time.monotonic()``.
            hops: How many plugins the event came through; sent to native plugins.
            began: When the caller sent it, in seconds of ``time.monotonic()``; by default how long
                it takes is not recorded.

        Returns:
            A future of the answer, an unprocessed JSON object. It fails with `PluginTimeoutError`
            or `PluginUnavailableError`.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are already waiting.
        """
        cdef Terms terms
        terms.deadline = deadline
        terms.began = began
        terms.row = self.row_since(message, began)
        terms.hops = hops
        terms.wants_data = False
        future = self.new_future()
        self.submit(message, future, &terms)
        if terms.row != NULL:
            self.rows.sent += 1
        return future

    def request(self, EventName name not None, payload, double timeout, uint32_t hops=0,
                account=None, str trace=None):
        """Send an event and return a future for its answer's data.

        This is `call` for answers of which only the data is of interest, in one step.

        Args:
            name: The event.
            payload: Any JSON value.
            timeout: When to give up, in seconds from now.
            hops: How many plugins the event came through.
            account: Has ``pay(seconds)``, and is charged for a large answer.
            trace: A W3C ``traceparent`` for a native plugin, or ``None``.

        Returns:
            A future of the data. It fails like that of `call`, or with `PluginReplyError`.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are already waiting.
        """
        cdef Terms terms
        future = self.new_future()
        if type(self.table) is ByNumber:
            message = Event(name, payload, self.max_frame_bytes, trace)
        else:
            message = event_frame(name, payload, self.max_frame_bytes)
        terms.began = monotonic()
        terms.deadline = terms.began + timeout
        terms.row = self.row_of(name)
        terms.hops = hops
        terms.wants_data = True
        self.submit(message, future if account is None else paid(future, account), &terms)
        if terms.row != NULL:
            self.rows.sent += 1
        return future

    cdef PyObject* row_of(self, EventName name):
        """Return the row of an event, borrowed from `rows`; NULL if it is not counted."""
        cdef Row row
        if self.rows is None or name.is_own:
            return NULL
        row = self.rows.find(name)
        return <PyObject*>row

    cdef PyObject* row_since(self, object message, double began):
        """Return the row of a message of which the beginning is known; NULL otherwise."""
        if began <= 0 or type(message) is not Event:
            return NULL
        return self.row_of((<Event>message).name)

    cdef void count_told(self, int64_t number) noexcept:
        """Count notifications, which have no row here."""
        if self.rows is not None:
            self.rows.sent += number

    cdef object new_future(self):
        """Do what ``loop.create_future()`` does, without building its keywords each time."""
        # Before `serve` there is no future to make: `submit` raises.
        if self.future_options is None:
            return None
        return PyObject_Call(Future, (), self.future_options)

    def deliver(self, message not None, Delivery delivery not None, double deadline,
                uint32_t hops=0, double began=0):
        """Send an event as one part of a fan-out; its answer or error goes to the delivery.

        The other arguments are those of `call`.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are already waiting.
        """
        cdef Terms terms
        terms.deadline = deadline
        terms.began = began
        terms.row = self.row_since(message, began)
        terms.hops = hops
        terms.wants_data = False
        self.submit(message, delivery, &terms)
        if terms.row != NULL:
            self.rows.sent += 1

    def tell(self, message not None, str overflow not None="block", uint32_t hops=0,
             bint published=False):
        """Send a notification: an event whose answer is ignored.

        Args:
            message: As for `call`.
            overflow: What to do if ``max_notified`` notifications are already waiting:
                ``drop_oldest`` drops the one that has waited longest, ``drop_newest`` drops this
                one, ``block`` refuses it (see `room`).
            hops: How many plugins the event came through.
            published: Whether another plugin has published it. Such events fill at most a quarter
                of the queue; above that this one is dropped, unless ``overflow`` is ``block``.

        Returns:
            Whether it was sent or queued; false if it was dropped, which `dropped` counts.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: The queue is full, and ``overflow`` is ``block``.
        """
        cdef Py_ssize_t size = bytes_of(message)
        cdef Terms terms
        terms.deadline = INFINITY
        terms.began = 0
        terms.row = NULL
        terms.hops = hops
        terms.wants_data = False
        self._check_open()
        if not self.must_wait() and self.may_hold(size):
            self.table.add(message, None, &terms)
        elif (published and overflow != "block" and self.waiting
              and len(self.told) >= self.max_published):
            self.dropped += 1
            return False
        elif self.has_room(size) or self.makes_room(size, overflow):
            call = new_call(message, None, &terms)
            self.line_up(call)
            self.told.append(call)
        else:
            self.dropped += 1
            return False
        if not is_own(message):
            self.count_told(1)
        # Without a deadline, but a peer that never answers must still be noticed as stuck.
        if self.timer is None:
            self.arm(INFINITY, monotonic())
        return True

    def room(self, message not None):
        """Return a future that is set once a notification finds room, or when the lane ends."""
        cdef Py_ssize_t size
        future = self.loop.create_future()
        if not self.serving or self.has_room(bytes_of(message)):
            future.set_result(None)
            return future
        size = bytes_of(message)
        if self.room_waiters is None:
            self.room_waiters = []
        self.room_waiters.append((future, size))
        # What is in its way may be the events of others.
        if not self.may_hold(size) and self.held_bytes + size <= self.max_queued_bytes:
            self.total.room(future)
        return future

    def charge_call(self, Py_ssize_t size):
        """Hold so many bytes for a call of the peer, until `release_call`.

        Raises:
            PluginOverloadedError: There is no room for them.
        """
        if not self.may_hold(size):
            raise self._overloaded_in_bytes()
        self.hold(size)

    def release_call(self, Py_ssize_t size):
        """Hold them no longer."""
        if self.serving:
            self.let_go(size)
            if self.room_waiters:
                self.wake_room_waiters()

    cdef int submit(self, object message, object future, const Terms* terms) except -1:
        if self.is_closing or not self.serving:
            self._check_open()
        if not is_own(message) and not self.may_hold(bytes_of(message)):
            raise self._overloaded_in_bytes()
        if self.must_wait() and not is_own(message):
            if self.queue_length() >= self.max_queued:
                raise failures.overloaded(self.plugin, self.max_queued, "max_queued")
            self.line_up(new_call(message, future, terms))
        else:
            self.table.add(message, future, terms)
            if self.ping_pong and self.table.count() == 1:
                # Nothing else is in flight: waiting for the end of the iteration only adds latency.
                self.flush_now()
        if terms.deadline < self.timer_at or self.timer is None:
            self.arm(terms.deadline, monotonic())
        return 0

    # The queue in front of the window. Events leave it in the order in which they came.

    cdef bint must_wait(self) noexcept:
        # Once one waits all do, or a newer event would overtake it.
        return self.waiting or self.table.count() >= self.window or self.write_paused

    cdef int line_up(self, Call call) except -1:
        if self.waiting is None:
            self.waiting = deque()
            self.told = deque()
        self.waiting.append(call)
        self.hold(bytes_of(call.message))
        return 0

    cdef Py_ssize_t queue_length(self) noexcept:
        return len(self.waiting) - self.dropped_waiting if self.waiting else 0

    cdef bint may_hold(self, Py_ssize_t size) noexcept:
        """Return whether there is room for a message of this size, in bytes."""
        # One message always fits, or a large one could never be sent; and whoever holds little is
        # not kept from more by those who hold much.
        if self.held_bytes == 0:
            return True
        if self.held_bytes + size > self.max_queued_bytes:
            return False
        return self.held_bytes + size <= FAIR_BYTES or self.total.used + size <= self.total.limit

    cdef bint has_room(self, Py_ssize_t size) noexcept:
        """Return whether a notification of this size may wait."""
        if not self.may_hold(size):
            return False
        if not self.waiting:
            return self.max_notified > 0 and self.max_queued > 0
        return len(self.told) < self.max_notified and self.queue_length() < self.max_queued

    cdef bint makes_room(self, Py_ssize_t size, str overflow) except -1:
        """Drop the notifications that have waited longest, if that makes room for another one."""
        if overflow == "block":
            if not self.may_hold(size):
                raise self._overloaded_in_bytes()
            raise failures.overloaded(self.plugin, self.max_notified, "max_notified")
        while overflow == "drop_oldest" and self.told:
            self.drop_oldest()
            if self.has_room(size):
                return True
        return False

    cdef int drop_oldest(self) except -1:
        cdef Call call = self.told.popleft()
        # Only marked: removing it from the middle of `waiting` would take a search.
        call.is_dropped = True
        self.let_go(bytes_of(call.message))
        call.message = None
        self.dropped += 1
        self.displaced += 1
        self.count_told(-1)
        self.dropped_waiting += 1
        while self.waiting and (<Call>self.waiting[0]).is_dropped:
            self.waiting.popleft()
            self.dropped_waiting -= 1
        if self.dropped_waiting > self.max_notified:
            # They are behind a call that waits for long, and would accumulate there.
            self.waiting = deque([call for call in self.waiting if not (<Call>call).is_dropped])
            self.dropped_waiting = 0
        return 0

    cdef int process_read(self, Py_ssize_t nbytes) except -1:
        cdef double took
        # One look at the clock for all answers of a read: this is when they came.
        self.read_at = monotonic()
        took = self.measured_read(nbytes)
        if took < LONG_TURN or not self.serving:
            return 0
        if took >= HELD:
            self.owner.held_loop(took)
        return self.rest()

    cdef int batch_read(self, Py_ssize_t frames) except -1:
        # One answer per read: the caller waits for each before it sends the next.
        self.ping_pong = frames <= 1
        return self.pump() if self.waiting or self.room_waiters else 0

    cdef int pump(self) except -1:
        """Move waiting events into the window; those abandoned meanwhile are never sent."""
        cdef Call call
        while self.waiting and self.table.count() < self.window:
            if self.write_paused or self.is_closing:
                break
            call = self.waiting.popleft()
            if call.is_dropped:
                self.dropped_waiting -= 1
                continue
            self.let_go(bytes_of(call.message))
            if call.future is None:
                self.told.popleft()
            elif call.future.done():
                continue
            self.table.add(call.message, call.future, &call.terms)
        return self.wake_room_waiters() if self.room_waiters else 0

    cdef int wake_room_waiters(self) except -1:
        waiters, self.room_waiters = self.room_waiters, None
        for future, size in waiters or ():
            if future.done():
                continue
            if not self.serving or self.has_room(size):
                future.set_result(None)
                continue
            if self.room_waiters is None:
                self.room_waiters = []
            self.room_waiters.append((future, size))
        return 0

    # Backpressure. While the transport is full, events wait in the limited queue.

    def pause_writing(self):
        self.write_paused = True
        self.paused_at = monotonic()

    def resume_writing(self):
        self.write_paused = False
        self.let_read(REPLIES_UNREAD)
        if self.serving:
            self.pump()
            self.owner.writable()

    # Calls of the peer.

    def read_call(self, bytes payload not None):
        """Parse a call, and charge the peer for it.

        Returns:
            The call, or ``None`` if it cannot be read. In that case it has been refused, or the
            connection has ended because the call violates the protocol.
        """
        cdef const char* data = PyBytes_AS_STRING(payload)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef double began = busy() if size >= DEAR_CALL else 0.0
        try:
            return self.parse(data, size)
        except RemoteProtocolError as error:
            self.refuse_unread(data, size, error)
        finally:
            if size >= DEAR_CALL:
                self.charge(began)

    cdef int refuse_unread(self, const char* data, Py_ssize_t size, object error) except -1:
        """Refuse a call that is not strict JSON; one without a number violates the protocol."""
        if not self.serving:
            return 0
        try:
            return (<ByNumber>self.table).unread(data, size, error)
        except RemoteProtocolError as violation:
            return self.fail(violation)

    cdef int serve_again(self) except -1:
        if self.serving and not self.write_paused:
            self.owner.writable()
        return 0

    # Answers.

    cdef int frame(self, const char* payload, Py_ssize_t size) except -1:
        if self.serving:
            return self.table.accept(payload, size)
        return AnsweredStream.frame(self, payload, size)

    # Time. One timer serves all deadlines and the check for a stuck peer.

    cdef int arm(self, double when, double now) except -1:
        # Four looks per `stuck_after` find a stuck peer at most a quarter late.
        when = max(min(when, now + self.stuck_after / 4), now + COARSE)
        if self.timer is not None:
            self.timer.cancel()
        self.timer_at = when
        self.timer = self.loop.call_later(when - now, self.sweep)
        return 0

    def sweep(self):
        """Fail what is past its deadline; abort a connection that has stopped answering.

        This applies even while it is closing: a peer may never read the last bytes.
        """
        cdef double now = monotonic(), nearest
        cdef Py_ssize_t abandoned = 0
        cdef str reason = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.timer_at = INFINITY
        if not self.serving:
            return
        nearest = min(self.table.expire(now, &abandoned), self.expire_waiting(now))
        if abandoned >= self.max_abandoned:
            reason = f"{abandoned} events in flight timed out or were cancelled"
        else:
            reason = self.table.why_stuck(now, bool(self.waiting))
        if reason is not None:
            self.abort(failures.stuck(self.plugin, reason))
        elif self.table.count() or self.table.own or self.waiting:
            self.arm(nearest, now)

    cdef double expire_waiting(self, double now) except -1:
        cdef double nearest = INFINITY
        cdef Call call
        if not self.waiting:
            return nearest
        # Rebuilt, because what has to go may be anywhere in it.
        kept = deque()
        for entry in self.waiting:
            call = <Call>entry
            if call.is_dropped:
                continue
            if call.future is not None and call.future.done():
                self.let_go(bytes_of(call.message))
                continue
            if call.terms.deadline <= now:
                self.let_go(bytes_of(call.message))
                note_late(&call.terms)
                call.future.set_exception(
                    PluginTimeoutError(self.plugin, "not sent by the deadline")
                )
                continue
            nearest = min(nearest, call.terms.deadline)
            kept.append(call)
        self.waiting = kept
        self.dropped_waiting = 0
        if self.room_waiters:
            self.wake_room_waiters()
        return nearest

    # Errors.

    def _check_open(self):
        if self.is_closing or not self.serving:
            raise failures.closed(self.plugin)

    def _overloaded_in_bytes(self):
        if self.held_bytes and self.total.used >= self.total.limit - FAIR_BYTES:
            return failures.all_overloaded_in_bytes(self.plugin, self.total.used, self.total.limit)
        return failures.overloaded_in_bytes(self.plugin, self.held_bytes, self.max_queued_bytes)

    # Ending.

    cdef int fail(self, object error) except -1:
        """End the connection because the peer violated the protocol."""
        if not self.serving:
            return AnsweredStream.fail(self, error)
        self.abort(error)  # `disconnected` reports it to the owner of a serving lane
        return 0

    def connection_lost(self, exc):
        # Asked here, while there is an owner.
        if self.serving and self.owner is not None:
            self.end_reason = self.owner.end_reason()
        AnsweredStream.connection_lost(self, exc)

    cdef int release(self) except -1:
        if self.serving:
            self._fail_all()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return AnsweredStream.release(self)

    def _fail_all(self):
        """Fail every unanswered call now, rather than at its deadline."""
        self.lost = self.table.take_messages()
        futures = self.table.take_all()
        self.table = None  # breaks its reference cycle with the lane
        if self.waiting is not None:
            futures += [(<Call>call).future for call in self.waiting]
            self.dropped += len(self.told)
            self.displaced += len(self.told)
            self.count_told(-len(self.told))
            self.waiting = self.told = None
        self.dropped_waiting = 0
        self.let_go(self.held_bytes)
        self.serving = False
        # The lane is in its final state before anything else can look at it.
        self.wake_room_waiters()
        for future in futures:
            if future is not None and not future.done():
                future.set_exception(failures.lost(self.plugin, self.error, self.end_reason))

    @property
    def in_flight(self):
        """The number of events sent and not yet answered, including abandoned ones."""
        return self.table.count() if self.table is not None else 0

    @property
    def queued_bytes(self):
        """The bytes of the events that wait or are in flight, and of the peer's calls."""
        return self.held_bytes

    @property
    def queued(self):
        """The number of events that wait for a slot in the window."""
        return self.queue_length()


# asyncio recognizes a BufferedProtocol by `isinstance`, and a compiled class cannot derive from a
# Python class. This one can.

class Lane(LaneCore, BufferedProtocol):
    __slots__ = ()
    __doc__ = LaneCore.__doc__
