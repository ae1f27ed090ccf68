# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Part five of the compiled core: one event to many lanes, with one future for their answers."""

from cython cimport final

from ._clock cimport monotonic

from asyncio import InvalidStateError, get_running_loop


@final
cdef class FanOut:
    """The answers to one event from many lanes, with one future for all of them.

    It and its deliveries belong to the running loop.
    """

    def __cinit__(self):
        self.deliveries = []

    def add(self):
        """Return a new delivery, which `wait` waits for."""
        cdef Delivery delivery = Delivery.__new__(Delivery)
        delivery.whole = self
        self.missing += 1
        self.deliveries.append(delivery)
        return delivery

    def wait(self):
        """Return a future that is set once every delivery is done."""
        self.complete = get_running_loop().create_future()
        if self.missing == 0:
            self.complete.set_result(None)
        return self.complete

    def results(self):
        """Return each delivery's answer, error, and when it was done, in the order of `add`.

        One of the two is ``None``; the time is in seconds of ``time.monotonic()``.
        """
        # One step for all three: reading an attribute of a compiled class takes as long.
        return [
            ((<Delivery>one).answer, (<Delivery>one).error, (<Delivery>one).ended)
            for one in self.deliveries
        ]

    def abandon(self):
        """Give up deliveries that are not done; their lanes drop answers that still arrive."""
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
    """One plugin's part of a fan-out; it is in a lane's table in place of a future."""

    def done(self):
        """Return whether it is done or abandoned."""
        return self.whole is None

    def set_result(self, answer):
        """Set the answer.

        Raises:
            asyncio.InvalidStateError: It is already done.
        """
        self.end()
        self.answer = answer

    def set_exception(self, error):
        """Set the reason why there is no answer.

        Raises:
            asyncio.InvalidStateError: It is already done.
        """
        self.end()
        self.error = error

    cdef int end(self) except -1:
        whole, self.whole = self.whole, None
        if whole is None:
            raise InvalidStateError("the delivery is already done")
        self.ended = monotonic()
        return (<FanOut>whole).one_less()
