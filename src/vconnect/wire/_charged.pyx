# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part three of the compiled core: a stream whose peer pays for what it makes the host do.

Unsolicited work is charged in processor time. A peer that has used up its budget is not read from
until the budget refills, so it delays only itself. Reading also stops while the peer does not read
its replies, and while its calls wait for their turn.
"""

from libc.string cimport memcpy
from cython cimport final

from ._clock cimport busy, monotonic

# The budget for unsolicited work: seconds of processor time that a peer may use at once, and the
# refill per second.
cdef double UNASKED_BURST = 0.010
cdef double UNASKED_RATE = 0.050
# The owner is notified of work that takes at least this many seconds.
cdef double TOLD_WORK = 0.0005
# The shortest pause of a peer that is over budget, in seconds.
cdef double SHORTEST_REST = 0.001


cdef class ChargedStream(StreamCore):
    """A stream whose peer is charged for unsolicited work.

    Its owner gets ``charged(seconds)`` for each long piece of work.
    """

    def __cinit__(self):
        self.unasked_left = UNASKED_BURST
        self.unasked_at = monotonic()

    # The budget.

    cdef int charge(self, double began) except -1:
        """Charge the processor time since `began`, a value of `busy`."""
        return self.spend(busy() - began)

    def charge_work(self, double seconds):
        """Charge the peer for processor time, in seconds."""
        self.spend(seconds)

    cdef int spend(self, double seconds) except -1:
        self.look_at_budget()
        self.unasked_left -= seconds
        if seconds >= TOLD_WORK and self.owner is not None:
            self.owner.charged(seconds)
        return self.rest() if self.unasked_left < 0 else 0

    cdef double look_at_budget(self):
        """Refill the budget, and return the seconds until it is no longer negative."""
        cdef double now = monotonic()
        self.unasked_left = min(
            UNASKED_BURST, self.unasked_left + (now - self.unasked_at) * UNASKED_RATE
        )
        self.unasked_at = now
        return max(0.0, -self.unasked_left / UNASKED_RATE)

    # Reading, and reasons not to.

    cdef int rest(self) except -1:
        """Stop reading and serving calls for the rest of this iteration, and while over budget."""
        if self.rest_timer is None and not self.is_closing:
            self.hold_back(RESTING)
            self.rest_timer = self.loop.call_later(self.look_at_budget(), self.end_rest)
        return 0

    def end_rest(self):
        """Resume reading and serving, unless the peer is still over budget."""
        cdef double owed = self.look_at_budget()
        self.rest_timer = None
        if self.is_closing:
            return
        if owed > 0:
            self.rest_timer = self.loop.call_later(max(owed, SHORTEST_REST), self.end_rest)
            return
        self.let_read(RESTING)
        self.serve_again()

    cdef int serve_again(self) except -1:
        """Resume serving the peer's calls."""
        raise NotImplementedError

    cdef int hold_back(self, int why) except -1:
        """Add a reason not to read. Frames that have already been read wait as well."""
        self.holds |= why
        if not (self.is_paused or self.is_closing):
            self.is_paused = True
            self.transport.pause_reading()
        return 0

    cdef int let_read(self, int why) except -1:
        """Remove a reason not to read, and resume once none is left."""
        if self.holds & why:
            self.holds &= ~why
            # Not at once: another stream may be in the middle of the buffer that they share.
            if not (self.holds or self.is_closing):
                self.loop.call_soon(self.read_on)
        return 0

    def read_on(self):
        """Process the frames that were read earlier, then resume reading."""
        if self.holds or self.is_closing or not self.is_paused:
            return
        if self.kept_bytes:
            memcpy(self.buffer.data, self.kept, self.kept_bytes)
            self.process_read(0)
        if not (self.holds or self.is_closing):
            self.is_paused = False
            self.transport.resume_reading()

    def reply(self, bytes frame not None):
        """Send a reply to a call; a peer that does not read is not read from either.

        This applies to replies only: a peer may write its whole answer before it reads more events.
        """
        self.send(frame)
        if self.write_paused:
            self.hold_back(REPLIES_UNREAD)

    def hold_calls(self, bint are_full):
        """Stop reading while the queue of calls is full, or resume."""
        if are_full:
            self.hold_back(CALLS_FULL)
        else:
            self.let_read(CALLS_FULL)

    def is_held(self):
        """Return whether the peer's calls have to wait.

        That is the case while it does not read its replies, or is over budget.
        """
        return self.write_paused or self.rest_timer is not None

    cdef int release(self) except -1:
        if self.rest_timer is not None:
            self.rest_timer.cancel()
            self.rest_timer = None
        return StreamCore.release(self)


@final
cdef class Paid:
    """A future whose answer is charged to an account, because a plugin's call caused the event.

    It lives as long as the event has a slot or a place in the queue, although its caller may have
    given up long before. The account counts it for so long.
    """

    def __del__(self):
        self.account.leave()

    def done(self):
        """Forward it."""
        return self.future.done()

    def set_result(self, answer):
        """Forward it."""
        self.future.set_result(answer)

    def set_exception(self, error):
        """Forward it."""
        self.future.set_exception(error)


cdef object paid(object future, object account):
    """Wrap a future so that a large answer is charged to an account."""
    cdef Paid paid = Paid.__new__(Paid)
    paid.future = future
    account.enter()
    paid.account = account
    return paid
