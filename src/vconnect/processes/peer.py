"""Which process has connected: not a number, which another process may get, but the process."""

# The kernel tells the PID of whoever called connect(2). A connection may outlive that process, for
# example if its parent holds the socket as well, and the PID may be given to another one: the next
# process of another plugin. polkit and D-Bus learned that the hard way (CVE-2019-6133). So what is
# kept of a peer is its PID and its start time, read while the process certainly lives, and both are
# compared again when the peer says who it is.

from __future__ import annotations

import errno
import os
import socket
import sys
from asyncio import Transport
from contextlib import suppress

import msgspec

from vconnect.sockets.credentials import Peer, peer_of

from .procfs import has_proc, start_time

# Linux 6.5; without a name in CPython.
_SO_PEERPIDFD = 77
# The kernel does not know the option, or no descriptor is left for the answer.
_NO_ANSWER = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EMFILE, errno.ENFILE)


def identify(transport: Transport) -> Peer:
    """Read the credentials of the process that has connected, with its start time.

    Raises:
        OSError: The process has ended.
    """
    peer = peer_of(transport)
    if not (has_proc() or sys.platform == "darwin"):
        return peer
    pidfd = _pidfd_of(transport.get_extra_info("socket"))
    try:
        start = start_time(peer.pid)
        if pidfd >= 0 and not _is_of(pidfd, peer.pid):
            raise ProcessLookupError(errno.ESRCH, f"PID {peer.pid} has ended")
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    if start is None:
        _check_exists(peer.pid)
    return msgspec.structs.replace(peer, start=start)


def is_still(peer: Peer) -> bool:
    """Return whether the process that has connected lives, as far as that can be told."""
    if peer.start is not None:
        return start_time(peer.pid) == peer.start
    try:
        _check_exists(peer.pid)
    except ProcessLookupError:
        return False
    return True


def gains_no_privileges(pid: int) -> bool:
    """Return whether a process has given up for good to gain privileges (``no_new_privs``).

    Raises:
        OSError: Descriptors or memory ran out, so it is unknown.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123 - once per request
            return b"\nNoNewPrivs:\t1\n" in file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def _pidfd_of(connection: socket.socket) -> int:
    """Return a descriptor of the process itself, or -1 where the kernel has none.

    Raises:
        OSError: The process has ended.
    """
    if sys.platform != "linux":
        return -1
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno in _NO_ANSWER:
            return -1
        raise


def _is_of(pidfd: int, pid: int) -> bool:
    """Return whether a process lives, and has this PID among those that we see."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:  # noqa: PTH123 - once per connection
        for line in file:
            if line.startswith(b"Pid:"):
                return int(line[4:]) == pid
    return True


def _check_exists(pid: int) -> None:
    """Raise `ProcessLookupError` if there is no process with this PID."""
    with suppress(PermissionError):  # another user's
        os.kill(pid, 0)
