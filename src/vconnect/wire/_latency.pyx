# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""How long events take, and what became of them: counted where answers arrive.

A `Row` has the events of one name to one plugin. `Rows` has all rows of a plugin, and finds the row
of an event. The hot path only adds to numbers; whoever wants to see something subtracts.
"""

# The idea: a cell is a quarter of an octave, so that a quantile is right to some percent from 8 us
# to a minute, in 752 bytes. Nothing is ever reset. A row keeps what it had at some moments of the
# past, so "the last minute" is a difference, which only readers compute.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.list cimport PyList_SetItem
from cpython.ref cimport Py_INCREF
from libc.stdio cimport snprintf
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t
from libc.string cimport memcpy
from cython cimport final

from ._clock cimport monotonic

OTHER = "_other"
"""The label of events for which there is no row left."""
MAX_ROWS = 32
"""Rows of one plugin, besides that of `OTHER`."""
MAX_ALL_ROWS = 4096
"""Rows of all plugins together. One has 4.3 KiB."""

EDGES_US = (8, *[
    (4 + quarter) << (octave - 2)
    for octave in range(LOWEST_BIT, HIGHEST_BIT + 1)
    for quarter in range(4)
][1:], 1 << (HIGHEST_BIT + 1))
"""The upper end of each cell but the last, in microseconds; the last one has none."""

cdef enum:
    # A number of 64 bits, the end of the line, and a zero.
    MAX_NUMBER = 24
    # Slow durations of a row that are kept for those who watch.
    MAX_SLOW = 16
    # Names whose row is known. More are only in use if somebody makes them up.
    MAX_NAMES = 1024

cdef Py_ssize_t all_rows = 0


@final
cdef class Row:
    """The events of one label to one plugin: a histogram of durations, and counters of outcomes.

    Args:
        event: The label.
    """

    def __cinit__(self, str event not None):
        global all_rows
        self.event = event
        self.slow_us = UINT64_MAX
        all_rows += 1

    def __dealloc__(self):
        global all_rows
        all_rows -= 1

    def count(self, int outcome):
        """Count what became of an event; a number below `OUTCOMES`."""
        if 0 <= outcome < OUTCOMES:
            self.outcomes[outcome] += 1
        else:
            raise ValueError(f"outcome {outcome}; expected a number below {OUTCOMES}")

    def observe(self, double seconds):
        """Record a duration."""
        self.record(seconds)

    def observe_since(self, double began):
        """Record the time since a moment of ``time.monotonic()``."""
        self.record(monotonic() - began)

    def watch_slow(self, double seconds):
        """Keep durations from so many seconds on, for `take_slow`; negative for none."""
        self.slow_us = UINT64_MAX if seconds < 0 else <uint64_t>(seconds * 1e6)
        self.slow = None

    def take_slow(self):
        """Return the slow durations since the last call, in seconds; at most a few of them."""
        slow, self.slow = self.slow, None
        return slow or []

    cdef int note_slow(self, double seconds) except -1:
        if self.slow is None:
            self.slow = []
        if len(self.slow) < MAX_SLOW:
            self.slow.append(seconds)
        return 0

    def keep(self, int moment):
        """Remember the present as one of `KEPT` moments, for `since`."""
        cdef int at
        cdef Moment* kept = &self.kept[moment % KEPT]
        for at in range(CELLS):
            kept.cells[at] = <uint32_t>self.cells[at]
        for at in range(OUTCOMES):
            kept.outcomes[at] = <uint32_t>self.outcomes[at]
        kept.sum_us = self.sum_us

    def since(self, int moment):
        """Return what has come since a moment: the count of each cell, the seconds, the outcomes.

        A moment at which the row was not there is one at which it was empty.
        """
        cdef int at
        cdef Moment* kept = &self.kept[moment % KEPT]
        return (
            [<uint32_t>(<uint32_t>self.cells[at] - kept.cells[at]) for at in range(CELLS)],
            (self.sum_us - kept.sum_us) / 1e6,
            [
                <uint32_t>(<uint32_t>self.outcomes[at] - kept.outcomes[at])
                for at in range(OUTCOMES)
            ],
        )

    def buckets(self, bytes head not None, tuple ends not None, tuple upto not None):
        """Return the lines of a histogram's buckets as Prometheus reads them, with running sums.

        Args:
            head: What is before the end of a bucket on each line.
            ends: What is after it, for each bucket; the number follows.
            upto: For each bucket, the first cell that is no longer in it.
        """
        cdef Py_ssize_t size = 0, at = 0, bucket, end_size
        cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head)
        cdef uint64_t running = 0
        cdef int cell = 0, last
        cdef char* out
        cdef bytearray lines = bytearray()
        for end in ends:
            size += head_size + PyBytes_GET_SIZE(<bytes>end) + MAX_NUMBER
        PyByteArray_Resize(lines, size)
        out = PyByteArray_AS_STRING(lines)
        for bucket in range(len(ends)):
            last = upto[bucket]
            while cell < last and cell < CELLS:
                running += self.cells[cell]
                cell += 1
            end_size = PyBytes_GET_SIZE(<bytes>ends[bucket])
            memcpy(out + at, PyBytes_AS_STRING(head), head_size)
            memcpy(out + at + head_size, PyBytes_AS_STRING(<bytes>ends[bucket]), end_size)
            at += head_size + end_size
            at += snprintf(out + at, MAX_NUMBER, b"%llu\n", <unsigned long long>running)
        return bytes(lines[:at])

    def counts(self):
        """Return how many events had each outcome so far."""
        cdef int at
        return tuple([self.outcomes[at] for at in range(OUTCOMES)])

    @property
    def seconds(self):
        """The seconds that all events together took so far."""
        return self.sum_us / 1e6

    def totals(self):
        """Return all that has come: the count of each cell, the seconds, the outcomes."""
        cdef int at
        return (
            [self.cells[at] for at in range(CELLS)],
            self.sum_us / 1e6,
            [self.outcomes[at] for at in range(OUTCOMES)],
        )


@final
cdef class Rows:
    """The rows of one plugin, by the labels of events.

    Args:
        label: Returns the label of an event's name. Labels come from the configuration and from
            what plugins declare, never from a payload; what is over the limit is `OTHER`.

    Attributes:
        sent: How many events were sent to the plugin or wait to be, without the host's own. What
            had to leave the queue again does not count.
    """

    def __cinit__(self, label):
        self.label = label
        self.rows = {}
        self.forget_names()

    def forget_names(self):
        """Ask for labels anew: the configuration has changed. The rows stay."""
        self.by_name = {}
        self.names = [None] * CACHED
        self.found = [None] * CACHED

    def row(self, str event not None):
        """Return the row of an event, by its name."""
        cdef str label = self.label(event)
        row = self.rows.get(label)
        if row is None:
            if len(self.rows) >= MAX_ROWS or all_rows >= MAX_ALL_ROWS:
                label = OTHER
            row = self.rows.get(label)
        if row is None:
            row = self.rows[label] = Row(label)
        return row

    def all(self):
        """Return all rows."""
        return list(self.rows.values())

    cdef Row search(self, EventName name, Py_ssize_t slot):
        row = self.by_name.get(name)
        if row is None:
            row = self.row(name.text)
            if len(self.by_name) >= MAX_NAMES:
                self.by_name = {}
            self.by_name[name] = row
        Py_INCREF(name)  # the lists steal these
        PyList_SetItem(self.names, slot, name)
        Py_INCREF(row)
        PyList_SetItem(self.found, slot, row)
        return row
