# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""The compiled core's fourth part: the lane, a connection with its events in flight.

A lane is a stream with a window, a queue before it, and one timer. How answers find their events
is the dialect's, in a table of ``_inflight``. A `FanOut` is one event in many lanes.
"""

from cpython.object cimport PyObject_Call
from libc.math cimport INFINITY
from libc.stdint cimport uint32_t
from cython cimport final

from ._clock cimport monotonic
from vconnect._framing cimport Event, EventName, event_frame
from ._inflight cimport AnsweredStream, ByNumber, Call, InOrder, new_call

from asyncio import BufferedProtocol, Future, InvalidStateError, get_running_loop
from collections import deque

from vconnect.errors import (
    PluginOverloadedError,
    PluginStuckError,
    PluginTimeoutError,
    PluginUnavailableError,
)

# Deadlines that lie closer together than this share one wake-up. Seconds.
cdef double COARSE = 0.001


# --- the lane --------------------------------------------------------------------------------

cdef class LaneCore(AnsweredStream):
    """A stream whose peer answers events.

    Until `serve` it is a plain `FrameStream`, for the handshake. From then on up to ``window``
    events are in flight and up to ``max_queued`` wait behind them. A call that times out or is
    cancelled leaves its place: the answer to it is consumed and dropped when it comes, and never
    reaches another call.
    """

    def __cinit__(self):
        self.timer_at = INFINITY
        self.lost = []

    def serve(self, owner, str plugin not None, *, Py_ssize_t window, Py_ssize_t max_queued,
              Py_ssize_t max_abandoned, double stuck_after, read_data=None, bint native=False,
              Py_ssize_t max_notified=1024):
        """Begin to take frames as answers.

        Args:
            owner: Who hears of the end from now on; in the native dialect also of calls.
            plugin: The plugin's name, for messages.
            window: The most events in flight.
            max_queued: The most events that wait for a place in the window.
            max_abandoned: With this many abandoned events the connection is given up.
            stuck_after: So is one whose peer has stopped answering for this long. Seconds.
            read_data: Gets the data out of an answer for `request`, or raises `PluginReplyError`.
            native: Whether answers are matched by number.
            max_notified: How many of those that wait may be notifications.
        """
        self.owner = owner
        self.plugin = plugin
        self.window = window
        self.max_queued = max_queued
        self.max_notified = max_notified
        self.max_abandoned = max_abandoned
        self.stuck_after = stuck_after
        self.read_data = read_data
        if self.buffer.loop is not self.loop:
            self.buffer.loop = self.loop
            self.buffer.future_options = {"loop": self.loop}
        self.future_options = self.buffer.future_options
        self.table = ByNumber(self) if native else InOrder(self)
        self.serving = True

    def call(self, message not None, double deadline, uint32_t hops=0):
        """Send an event and return a future for its answer.

        Cancelling the future abandons the call; the lane stays in step.

        Args:
            message: An `Event`; in the classic dialect also its frame.
            deadline: When to give up, in seconds of ``time.monotonic()``.
            hops: How many plugins the event came through; told to native plugins.

        Returns:
            A future of the answer, an undigested JSON object. It fails with `PluginTimeoutError`
            or `PluginUnavailableError`.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are waiting already.
        """
        future = self.new_future()
        self.submit(message, future, deadline, False, hops)
        return future

    def request(self, EventName name not None, payload, double timeout, uint32_t hops=0):
        """Send an event and return a future for its answer's data.

        It is `call` for an answer of which only the data counts, in one step.

        Args:
            name: The event.
            payload: Anything that JSON holds.
            timeout: When to give up, in seconds from now.
            hops: How many plugins the event came through.

        Returns:
            A future of the data. It fails as that of `call`, or with `PluginReplyError`.

        Raises:
            PayloadError: The payload is not JSON, or too large.
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are waiting already.
        """
        future = self.new_future()
        if type(self.table) is ByNumber:
            message = Event(name, payload, self.max_frame_bytes)
        else:
            message = event_frame(name, payload, self.max_frame_bytes)
        self.submit(message, future, monotonic() + timeout, True, hops)
        return future

    cdef object new_future(self):
        """What ``loop.create_future()`` does, without making its keywords anew each time."""
        if self.future_options is None:
            return None
        return PyObject_Call(Future, (), self.future_options)

    def deliver(self, message not None, Delivery delivery not None, double deadline,
                uint32_t hops=0):
        """Send an event as one part of a fan-out; its answer, or its error, goes to the delivery.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: ``max_queued`` events are waiting already.
        """
        self.submit(message, delivery, deadline, False, hops)

    def tell(self, message not None, str overflow not None="block", uint32_t hops=0):
        """Send an event whose answer nobody waits for.

        Args:
            message: As for `call`.
            overflow: What to do when ``max_notified`` of them wait already: ``drop_oldest``
                displaces the one that waits longest, ``drop_newest`` drops this one, ``block``
                refuses it (see `room`).
            hops: How many plugins the event came through.

        Returns:
            Whether it was sent or waits; false if it was dropped, which `dropped` counts.

        Raises:
            PluginUnavailableError: The connection has ended.
            PluginOverloadedError: The queue is full, and ``block`` was asked for.
        """
        self._check_open()
        if not self.must_wait():
            self.table.add(message, None, INFINITY, False, hops)
        elif self._has_room() or self._makes_room(overflow):
            call = new_call(message, None, INFINITY, False, hops)
            self.line_up(call)
            self.told.append(call)
        else:
            self.dropped += 1
            return False
        if self.timer is None:
            self.arm(INFINITY, monotonic())
        return True

    def room(self):
        """Return a future that is done as soon as a notification finds room, or at the end."""
        future = self.loop.create_future()
        if not self.serving or self._has_room():
            future.set_result(None)
        elif self.room_waiters is None:
            self.room_waiters = [future]
        else:
            self.room_waiters.append(future)
        return future

    cdef int submit(
        self, object message, object future, double deadline, bint wants_data, uint32_t hops
    ) except -1:
        if self.is_closing or not self.serving:
            self._check_open()
        if self.must_wait():
            if self.queue_length() >= self.max_queued:
                raise self._overloaded(self.max_queued, "max_queued")
            self.line_up(new_call(message, future, deadline, wants_data, hops))
        else:
            self.table.add(message, future, deadline, wants_data, hops)
            if self.ping_pong and self.table.count() == 1:
                # Nothing else is under way: waiting for the end of the tick only adds latency.
                self.flush_now()
        if deadline < self.timer_at or self.timer is None:
            self.arm(deadline, monotonic())
        return 0

    # The queue before the window. Events leave it in the order in which they came.

    cdef bint must_wait(self):
        return self.waiting or self.table.count() >= self.window or self.write_paused

    cdef int line_up(self, Call call) except -1:
        if self.waiting is None:
            self.waiting = deque()
            self.told = deque()
        self.waiting.append(call)
        return 0

    cdef Py_ssize_t queue_length(self):
        return len(self.waiting) - self.dropped_waiting if self.waiting else 0

    def _has_room(self):
        if not self.waiting:
            return self.max_notified > 0 and self.max_queued > 0
        return len(self.told) < self.max_notified and self.queue_length() < self.max_queued

    def _makes_room(self, overflow):
        if overflow == "block":
            raise self._overloaded(self.max_notified, "max_notified")
        if overflow != "drop_oldest" or not self.told:
            return False
        self.drop_oldest()
        return True

    cdef int drop_oldest(self) except -1:
        cdef Call call = self.told.popleft()
        call.is_dropped = True
        call.message = None
        self.dropped += 1
        self.dropped_waiting += 1
        while self.waiting and (<Call>self.waiting[0]).is_dropped:
            self.waiting.popleft()
            self.dropped_waiting -= 1
        if self.dropped_waiting > self.max_notified:
            # They lie behind a call that waits for long: without this they would pile up there.
            self.waiting = deque([call for call in self.waiting if not (<Call>call).is_dropped])
            self.dropped_waiting = 0
        return 0

    cdef int batch_read(self, Py_ssize_t frames) except -1:
        self.ping_pong = frames <= 1
        return self.pump() if self.waiting else 0

    cdef int pump(self) except -1:
        """Move waiting events into the window; those that were given up meanwhile never leave."""
        cdef Call call
        while self.waiting and self.table.count() < self.window:
            if self.write_paused or self.is_closing:
                break
            call = self.waiting.popleft()
            if call.is_dropped:
                self.dropped_waiting -= 1
                continue
            if call.future is None:
                self.told.popleft()
            elif call.future.done():
                continue
            self.table.add(call.message, call.future, call.deadline, call.wants_data, call.hops)
        return self.wake_room_waiters() if self.room_waiters else 0

    cdef int wake_room_waiters(self) except -1:
        if self.serving and not self._has_room():
            return 0
        waiters, self.room_waiters = self.room_waiters, None
        for future in waiters or ():
            if not future.done():
                future.set_result(None)
        return 0

    # Events need no more: while the transport is full they wait in a queue with an end.

    def pause_writing(self):
        self.write_paused = True
        self.paused_at = monotonic()

    def resume_writing(self):
        self.write_paused = False
        if self.read_paused and not self.is_closing:
            self.read_paused = False
            self.transport.resume_reading()
        if self.serving:
            self.pump()

    def reply(self, bytes frame not None):
        """Send what the peer has asked for; one that does not read is not read any further.

        Only then: a peer may well write its whole answer to an event before it reads the next.
        """
        self.send(frame)
        if self.write_paused and not (self.read_paused or self.is_closing):
            self.read_paused = True
            self.transport.pause_reading()

    # Answers.

    cdef int frame(self, const char* payload, Py_ssize_t size) except -1:
        if self.serving:
            return self.table.accept(payload, size)
        return AnsweredStream.frame(self, payload, size)

    # Time. One timer serves every deadline and the watch over a peer that is stuck.

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
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.timer_at = INFINITY
        if not self.serving:
            return
        nearest = min(self.table.expire(now, &abandoned), self.expire_waiting(now))
        if abandoned >= self.max_abandoned:
            self.abort(self._stuck(f"{abandoned} events in flight were given up unanswered"))
        elif (reason := self.table.why_stuck(now, bool(self.waiting))) is not None:
            self.abort(self._stuck(reason))
        elif self.table.count() or self.waiting:
            self.arm(nearest, now)

    cdef double expire_waiting(self, double now) except -1:
        cdef double nearest = INFINITY
        cdef Call call
        if not self.waiting:
            return nearest
        kept = deque()
        for entry in self.waiting:
            call = <Call>entry
            if call.is_dropped or (call.future is not None and call.future.done()):
                continue
            if call.deadline <= now:
                call.future.set_exception(
                    PluginTimeoutError(self.plugin, "not even sent by the deadline")
                )
                continue
            nearest = min(nearest, call.deadline)
            kept.append(call)
        self.waiting = kept
        self.dropped_waiting = 0
        if self.room_waiters:
            self.wake_room_waiters()
        return nearest

    # What is raised.

    def _check_open(self):
        if self.is_closing or not self.serving:
            raise PluginUnavailableError(self.plugin or "?", "its connection has ended")

    def _overloaded(self, limit, key):
        return PluginOverloadedError(
            self.plugin,
            f"{limit} events wait for it already ({key}); it answers more slowly than it is asked",
        )

    def _stuck(self, reason):
        return PluginStuckError(self.plugin, f"{reason}; its connection is given up")

    # Ending.

    cdef int fail(self, object error) except -1:
        """End the connection because the peer broke the wire."""
        if not self.serving:
            return AnsweredStream.fail(self, error)
        self.abort(error)  # the owner of a serving lane learns it from ``disconnected``
        return 0

    cdef int release(self) except -1:
        if self.serving:
            self._fail_all()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        return AnsweredStream.release(self)

    def _fail_all(self):
        """Fail every call that has no answer, now: none waits for its deadline."""
        reason = str(self.error) if self.error is not None else "its connection ended"
        self.lost = self.table.take_messages()
        lost = self.table.take_all()
        self.table = None  # which holds on to the lane
        if self.waiting is not None:
            lost += [(<Call>call).future for call in self.waiting]
            self.dropped += len(self.told)
            self.waiting = self.told = None
        self.dropped_waiting = 0
        self.serving = False
        self.wake_room_waiters()
        for future in lost:
            if future is not None and not future.done():
                future.set_exception(PluginUnavailableError(
                    self.plugin, f"{reason} before it answered"
                ))

    @property
    def in_flight(self):
        """Events sent and not yet answered, abandoned ones included."""
        return self.table.count() if self.table is not None else 0

    @property
    def queued(self):
        """Events that wait for a place in the window."""
        return self.queue_length()


# --- one event to many -----------------------------------------------------------------------

@final
cdef class FanOut:
    """The answers to one event from many lanes, and one future for all of them.

    It and its deliveries belong to the running loop.
    """

    def __cinit__(self):
        self.deliveries = []

    def add(self):
        """Return a delivery that is waited for."""
        cdef Delivery delivery = Delivery.__new__(Delivery)
        delivery.whole = self
        self.missing += 1
        self.deliveries.append(delivery)
        return delivery

    def wait(self):
        """Return a future that is done once every delivery is."""
        self.complete = get_running_loop().create_future()
        if self.missing == 0:
            self.complete.set_result(None)
        return self.complete

    def abandon(self):
        """Give up what is not done; answers that come after all are dropped by their lanes."""
        cdef Delivery delivery
        for delivery in self.deliveries:
            delivery.whole = None

    cdef int one_less(self) except -1:
        self.missing -= 1
        if self.missing == 0 and self.complete is not None and not self.complete.done():
            self.complete.set_result(None)
        return 0


@final
cdef class Delivery:
    """One plugin's part of a fan-out; it stands in a lane's table where a future would.

    Attributes:
        answer: The answer, or ``None``.
        error: Why there is none, or ``None``.
        ended: When either came, in seconds of ``time.monotonic()``.
    """

    def done(self):
        """Tell whether nobody waits for it any more."""
        return self.whole is None

    def set_result(self, answer):
        """Take the answer.

        Raises:
            asyncio.InvalidStateError: It is done already.
        """
        self.end()
        self.answer = answer

    def set_exception(self, error):
        """Take the reason why there is no answer.

        Raises:
            asyncio.InvalidStateError: It is done already.
        """
        self.end()
        self.error = error

    cdef int end(self) except -1:
        whole, self.whole = self.whole, None
        if whole is None:
            raise InvalidStateError("the delivery is done already")
        self.ended = monotonic()
        return (<FanOut>whole).one_less()


# asyncio chooses the buffered way by `isinstance`, and a compiled class cannot derive from a
# Python one; this one can.

class Lane(LaneCore, BufferedProtocol):
    __slots__ = ()
    __doc__ = LaneCore.__doc__
