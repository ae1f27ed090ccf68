# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""A cache by name, which every event asks: for its encoded name, its route, its plugin.

It is compiled because CPython has no fast way for it: ``cache[name]`` of a subclass of ``dict``
looks ``__getitem__`` up and calls it as a method, which costs as much again as the lookup itself.
"""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject, PyObject_Hash
from cython cimport final

cdef enum:
    # Of so many names, a cache knows that they have been asked for once.
    HASHES = 1024

MAX_CACHED_NAMES = 4096


@final
cdef class NameCache:
    """The value for each name, kept from its second lookup on.

    It forgets what has not been used for the longest time, roughly. A lookup that raises keeps
    nothing. ``cache[name]`` costs one dictionary lookup.

    Args:
        make: Computes the value for a name.
        limit: The maximum number of names.
    """

    # Two generations. A full one becomes the older one, and what is asked for again comes back from
    # there. So a plugin that makes up names displaces those that are in use only for one lookup,
    # and a lookup that finds its name keeps no books.
    #
    # A name that is never used twice is not kept at all: a plugin that makes up names would keep
    # the garbage collector busy, which then takes a fifth of the host's time and pauses it for
    # milliseconds. What has been asked for once is known by its hash alone, which the next one in
    # its place displaces.

    cdef object make
    cdef Py_ssize_t half            # of the limit: the names of one generation
    cdef dict newer
    cdef dict older
    cdef Py_hash_t asked_once[HASHES]

    def __init__(self, make not None, Py_ssize_t limit=MAX_CACHED_NAMES):
        self.make = make
        self.half = max(1, limit // 2)
        self.clear()

    def __getitem__(self, name):
        cdef PyObject* value = PyDict_GetItemWithError(self.newer, name)
        return <object>value if value != NULL else self.find(name)

    def __len__(self):
        """Return how many names are kept."""
        return len(self.newer) + len(self.older)

    def __contains__(self, name):
        """Return whether a value is kept for a name."""
        return name in self.newer or name in self.older

    def clear(self):
        """Forget all values."""
        self.newer = {}
        self.older = {}

    cdef object find(self, object name):
        if name in self.older:
            value = self.older.pop(name)
        else:
            value = self.make(name)
            if self.is_first(name):
                return value
        if len(self.newer) >= self.half:
            self.older = self.newer
            self.newer = {}
        self.newer[name] = value
        return value

    cdef bint is_first(self, object name) except -1:
        """Return whether a name is asked for the first time, and remember that it was."""
        cdef Py_hash_t mark = PyObject_Hash(name)
        cdef size_t place = <size_t>mark % HASHES
        cdef bint is_new = self.asked_once[place] != mark
        self.asked_once[place] = mark
        return is_new
