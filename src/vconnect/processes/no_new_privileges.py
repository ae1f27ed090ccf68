"""A thread that cannot gain new privileges, to start a process from."""

# `PR_SET_NO_NEW_PRIVS` applies to a thread, is inherited by what the thread starts, and cannot be
# undone. A thread that sets it, starts one process and ends therefore confines only that process.
# Nothing runs between fork and exec, and no helper program stands in front of the plugin.

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

# From <linux/prctl.h>; the same on every architecture.
_PR_SET_NO_NEW_PRIVS = 38

T = TypeVar("T")


def without_new_privileges(function: Callable[[], T]) -> T:
    """Call ``function`` in such a thread, and return or raise what it does. Blocks. Linux only.

    Raises:
        OSError: The thread cannot be started, or the kernel refused.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _give_up_privileges()
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - re-raised in the calling thread
            errors.append(error)

    thread = threading.Thread(target=run, name="vconnect confined start")
    try:
        thread.start()
    except RuntimeError as error:  # the machine is out of threads
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    thread.join()  # the caller's thread is not confined, so it must not do the work itself
    if errors:
        raise errors[0]
    return results[0]


def _give_up_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
