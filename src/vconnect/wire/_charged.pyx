# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part three of the compiled core: a stream whose peer pays for what it makes the host do.

What nobody has asked for is charged in processor time. A peer that has used up its time is not read
from until it has some again, so that it delays only itself. It is not read from for other reasons
either: while it does not read its replies, and while its calls wait for their turn.
"""

from libc.string cimport memcpy
from cython cimport final

from ._clock cimport busy, monotonic

# What a peer may make us do that we have not asked for: so many seconds at once, and so many seconds
# more in a second.
cdef double UNASKED_BURST = 0.010
cdef double UNASKED_RATE = 0.050
# Work that takes longer is told to the owner. Seconds.
cdef double TOLD_WORK = 0.0005
# The shortest rest of a peer that owes time. Seconds.
cdef double SHORTEST_REST = 0.001


cdef class ChargedStream(StreamCore):
    """A stream whose peer is charged for work.

    Its owner gets ``charged(seconds)`` for each long piece of it.
    """

    def __cinit__(self):
        self.unasked_left = UNASKED_BURST
        self.unasked_at = monotonic()

    # What it costs.

    cdef int charge(self, double began) except -1:
        """Charge the work since `began`, a time of `busy`, for a frame that nobody asked for."""
        return self.spend(busy() - began)

    def charge_work(self, double seconds):
        """Charge so many seconds of processor time that a call of the peer has cost."""
        self.spend(seconds)

    cdef int spend(self, double seconds) except -1:
        self.look_at_budget()
        self.unasked_left -= seconds
        if seconds >= TOLD_WORK and self.owner is not None:
            self.owner.charged(seconds)
        return self.rest() if self.unasked_left < 0 else 0

    cdef double look_at_budget(self):
        """Bring the budget up to date, and return in how many seconds it is no longer negative."""
        cdef double now = monotonic()
        self.unasked_left = min(
            UNASKED_BURST, self.unasked_left + (now - self.unasked_at) * UNASKED_RATE
        )
        self.unasked_at = now
        return max(0.0, -self.unasked_left / UNASKED_RATE)

    # When it is not read from.

    cdef int rest(self) except -1:
        """Read nothing and serve no call in this iteration of the loop, and while time is owed."""
        if self.rest_timer is None and not self.is_closing:
            self.hold_back(RESTING)
            self.rest_timer = self.loop.call_later(self.look_at_budget(), self.end_rest)
        return 0

    def end_rest(self):
        """Read and serve again, unless more has been charged meanwhile."""
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
        """Serve its calls after a rest."""
        raise NotImplementedError

    cdef int hold_back(self, int why) except -1:
        """Read nothing, for one more reason; what was read already waits as well."""
        self.holds |= why
        if not (self.is_paused or self.is_closing):
            self.is_paused = True
            self.transport.pause_reading()
        return 0

    cdef int let_read(self, int why) except -1:
        """Read again, unless there is another reason not to."""
        if self.holds & why:
            self.holds &= ~why
            # Not at once: another stream may be in the middle of the buffer that they share.
            if not (self.holds or self.is_closing):
                self.loop.call_soon(self.read_on)
        return 0

    def read_on(self):
        """Process what had been read, and then read again."""
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
        """Read nothing more while so many calls wait for their turn; ``False`` reads again."""
        if are_full:
            self.hold_back(CALLS_FULL)
        else:
            self.let_read(CALLS_FULL)

    def is_held(self):
        """Return whether no call of the peer is to be served now.

        It does not read its replies, or has used up its time.
        """
        return self.write_paused or self.rest_timer is not None

    cdef int release(self) except -1:
        if self.rest_timer is not None:
            self.rest_timer.cancel()
            self.rest_timer = None
        return StreamCore.release(self)


@final
cdef class Paid:
    """A future or a delivery of which another stream's peer pays for the answer.

    Its call has caused the event, so what the answer costs is work for it.
    """

    def done(self):
        """Forward it."""
        return self.future.done()

    def set_result(self, answer):
        """Forward it."""
        self.future.set_result(answer)

    def set_exception(self, error):
        """Forward it."""
        self.future.set_exception(error)


cdef object paid(object future, ChargedStream payer):
    """Let a stream's peer pay for an answer, if there is one that has to."""
    cdef Paid paid
    if payer is None:
        return future
    paid = Paid.__new__(Paid)
    paid.future = future
    paid.payer = payer
    return paid
