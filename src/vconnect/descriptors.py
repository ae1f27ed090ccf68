"""This process's file descriptors: the standard ones, how many there may be, and a reserve."""

# The limit is a fact of the whole process, so what it was at the start is kept here and not by one
# of the objects that ask for it.

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Protocol
from weakref import WeakSet

_STANDARD = range(3)
_STDOUT = 1
# What `resource` calls infinity is a number of descriptors that no kernel allows.
_ENOUGH = 1 << 20


class _Limit:
    """What the soft limit was before it was raised; -1 if it was not."""

    inherited = -1


def open_standard() -> None:
    """Open each standard descriptor that is closed, and its stream in `sys`.

    Otherwise a socket or the event loop's own descriptor would get its number, and whatever writes
    an error message would write it there. Stdin and stderr become ``/dev/null``. Stdout becomes a
    pipe that nobody reads, because what is to be printed is lost, and that is an error.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):  # a machine without /dev/null; then it stays closed
                _open_unread_pipe() if number == _STDOUT else _open_null()
                _open_stream(number)


def _open_null() -> None:
    # It gets the lowest free number, which is the one that was closed.
    os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _open_unread_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, _STDOUT)
    os.close(writing)


def _open_stream(number: int) -> None:
    name = ("stdin", "stdout", "stderr")[number]
    if getattr(sys, name) is None:
        mode = "r" if name == "stdin" else "w"
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def raise_limit() -> None:
    """Raise the soft limit on descriptors to the hard one; see `inherited_limit`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with suppress(OSError, ValueError):  # macOS has a second, lower limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        # Programs that use select(2) fail with more, so children get the limit that was meant.
        _Limit.inherited = soft


def inherited_limit() -> int:
    """Return the soft limit from before `raise_limit`, for children; -1 to leave theirs as it is.

    Only Linux can set it for a child.
    """
    return _Limit.inherited if sys.platform == "linux" else -1


def limit() -> int | None:
    """Return how many descriptors this process may have open; ``None`` for any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def none_left() -> str:
    """Say in words that a connection cannot be served for want of a descriptor."""
    return (
        "this host has no file descriptor left for another connection; its limit is "
        f"{limit() or 'the one of the machine'}; raise it: ulimit -n, or LimitNOFILE= in the unit"
    )


class Reserve:
    """One descriptor that is kept, so that there is one when all others are in use."""

    def __init__(self) -> None:
        self._descriptor = -1
        self.refill()

    def __bool__(self) -> bool:
        return self._descriptor >= 0

    def release(self) -> None:
        """Give the descriptor away. The next one that is opened gets it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def refill(self) -> None:
        """Take a descriptor again, if one is free."""
        if self._descriptor < 0:
            with suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Holder(Protocol):
    """An object with descriptors that a forked child must not hold."""

    def descriptors(self) -> Iterable[int]:
        """Return the descriptors that are open now."""


def keep_from_children(holder: Holder) -> None:
    """Take an object's descriptors away from children that this process forks.

    A child that executes another program has none of them anyway. One that goes on with this
    program (``multiprocessing``) would keep sockets, locks and pipes open after this process has
    ended, and its exit would go unnoticed.
    """
    _holders().add(holder)


# Shared by the process, because what is called after a fork can be registered, but not withdrawn.
@cache
def _holders() -> WeakSet[Holder]:
    os.register_at_fork(after_in_child=_let_go)
    return WeakSet()


def _let_go() -> None:
    """Point the descriptors to ``/dev/null``, in a child.

    They are not closed: their numbers would be used again, and then an object that the child has
    inherited as well would close what is not its own.
    """
    holders = _holders()
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for holder in list(holders):
            for descriptor in holder.descriptors():
                with suppress(OSError):
                    os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
    holders.clear()
