"""The process at the other end of a Unix socket, as the kernel reports it."""

from __future__ import annotations

import pwd
import socket
import struct
import sys
from asyncio import Transport

import msgspec

_HAS_PEERCRED = sys.platform == "linux"
# macOS, <sys/un.h>: options that have no names in CPython.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 1
_LOCAL_PEERPID = 2


class Peer(msgspec.Struct, frozen=True):
    """The credentials of the connected process.

    Attributes:
        pid: Its PID.
        uid: Its effective user ID.
        start: When it began, as its system counts; ``None`` if that is unknown. With the PID, it
            identifies the process.
    """

    pid: int
    uid: int
    start: int | None = None


def peer_of(transport: Transport) -> Peer:
    """Read the credentials of the process that is connected to a transport.

    Raises:
        OSError: The process is already gone.
    """
    return peer_on(transport.get_extra_info("socket"))


def peer_on(connection: socket.socket) -> Peer:
    """Read the credentials of the process that is connected to a socket.

    Raises:
        OSError: The process is already gone.
    """
    if _HAS_PEERCRED:
        # struct ucred: pid_t, uid_t, gid_t.
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("=iII", raw)
        return Peer(pid, uid)
    # macOS has the PID and the user in two separate options.
    pid = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    # struct xucred has 76 bytes; its version comes before the user ID.
    _, uid = struct.unpack_from("=II", connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76))
    return Peer(pid, uid)


def user_in_words(uid: int) -> str:
    """Name a user: ``uid 1000 (ann)``."""
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"
